//! What it takes to see the stack of another thread: its memory, its modules, a signal, its time on
//! the CPU, a breakpoint. What differs between architectures lies in [`arch`].

mod arch;
mod cpu_time;
pub(crate) mod file_map;
pub(crate) mod memory;
pub(crate) mod modules;
mod pointer_args;
mod returns;
pub(crate) mod signal;

pub(crate) use cpu_time::cpu_time;
pub(crate) use pointer_args::{Given, given};
pub(crate) use returns::{Returns, returns_are_counted};

#[cfg(test)]
pub(crate) mod testing;
