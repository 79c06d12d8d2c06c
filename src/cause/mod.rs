//! Why a thread does not return: evidence, and what follows from it.
//!
//! Evidence is read from `/proc` and the CPU controller, only about threads that are suspected.
//! What follows from it is pure: [`classify`](classify::classify) takes plain data.

mod classify;
mod describe;
mod hints;

pub(crate) use classify::{Evidence, telling};
pub(crate) use describe::CauseReport;
pub(crate) use hints::hint;
