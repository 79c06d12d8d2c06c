//! The watchdog on real runtimes that really block.

mod freeze;
mod runtimes;
mod saturation;
mod stalls;
mod support;
mod traps;
