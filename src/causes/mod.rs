//! Why a thread does not return: evidence, and what follows from it.
//!
//! Evidence is read from `/proc` and the CPU controller, only about threads that are suspected.
//! What follows from it is pure: [`classify`](classify::classify) takes plain data, and so do the parsers.

mod classify;
mod clue;
mod descriptor;
mod hints;
mod look;
mod quota;

use procfs_core::FromRead;

pub(crate) use classify::{Evidence, Verdict, telling};
pub(crate) use clue::Clue;
pub(crate) use hints::hint;
pub(crate) use look::{Look, Now, Turn, own_delay};
pub(crate) use quota::Quota;

/// Reads one file of `/proc`; `None` where it is not there or not as expected.
fn read<T: FromRead>(path: &str) -> Option<T> {
    T::from_read(std::fs::File::open(path).ok()?).ok()
}
