//! The watchdog on real runtimes that really block.
#![cfg(feature = "admin")]

#[path = "../support/mod.rs"]
mod common;
mod freeze;
mod plain;
mod runtimes;
mod saturation;
mod stalls;
mod support;
mod traps;
