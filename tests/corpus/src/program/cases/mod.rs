//! The cases, by what they do.

mod channels;
mod compute;
mod fine;
mod grpc;
mod io;
mod layers;
mod locks;
mod processes;
mod sleeps;
mod tasks;

use crate::case::Case;

pub(crate) const ALL: &[&[Case]] = &[
    channels::CASES,
    compute::CASES,
    fine::CASES,
    grpc::CASES,
    io::CASES,
    layers::CASES,
    locks::CASES,
    processes::CASES,
    sleeps::CASES,
    tasks::CASES,
];
