//! Why a thread does not return: evidence, and what follows from it.
//!
//! Evidence comes from `/proc` and the CPU controller, and is read only about suspected threads. What
//! follows from it is pure: [`classify`](classify::classify) takes plain data.

mod classify;
mod describe;
mod hints;

pub(crate) use classify::{Evidence, telling};
pub(crate) use describe::CauseReport;
pub(crate) use hints::hints;
