//! The detector on real runtimes that really block: what it finds, what it blames, and what it does
//! not take for a stall.
#![cfg(feature = "admin")]

#[cfg(target_os = "linux")]
mod causes;
#[cfg(target_os = "linux")]
mod degraded;
#[cfg(all(
    feature = "capture",
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
mod first;
mod freeze;
mod idle;
#[cfg(all(feature = "axum", feature = "capture"))]
mod matrix;
mod plain;
mod runtimes;
mod saturation;
mod stalls;
#[path = "../support/mod.rs"]
mod support;
mod traps;
