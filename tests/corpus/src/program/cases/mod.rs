//! The cases, by what they do.

mod channels;
mod compute;
mod io;
mod locks;
mod processes;
mod sleeps;

use crate::case::Case;

pub(crate) const ALL: &[&[Case]] = &[
    channels::CASES,
    compute::CASES,
    io::CASES,
    locks::CASES,
    processes::CASES,
    sleeps::CASES,
];
