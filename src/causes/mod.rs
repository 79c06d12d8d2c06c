//! Why a thread does not return: evidence, and what follows from it.
//!
//! Evidence is read from `/proc` and the CPU controller, only about threads that are suspected.
//! What follows from it is pure: [`classify`] takes plain data, and so do the parsers.

mod classify;
mod clue;
mod descriptor;
mod look;
mod quota;

pub(crate) use classify::{Evidence, Verdict, classify};
pub(crate) use clue::Clue;
pub(crate) use descriptor::Object;
pub(crate) use look::{Look, own_delay};
pub(crate) use quota::Quota;
