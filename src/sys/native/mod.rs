//! What taking the stack of another thread needs: its memory, the list of modules, a signal, its CPU
//! time, a breakpoint. What differs between architectures is in [`arch`].

mod arch;
mod cpu_time;
#[cfg(target_arch = "x86_64")]
pub(crate) mod externals;
pub(crate) mod file_map;
pub(crate) mod memory;
pub(crate) mod modules;
mod pointer_args;
mod returns;
pub(crate) mod signal;

pub(crate) use cpu_time::{cpu_time, own_cpu_time};
pub(crate) use pointer_args::{Given, given};
pub(crate) use returns::{Returns, returns_are_counted};

#[cfg(test)]
pub(crate) mod testing;
