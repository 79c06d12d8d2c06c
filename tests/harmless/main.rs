//! Harmlessness: what a program's calls return is what they return without a detector.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "admin", feature = "capture"))]

mod busy;
mod call;
#[path = "../support/mod.rs"]
mod common;
mod drive;
mod files;
mod filter;
mod foreign;
mod locks;
mod network;
mod table;
mod time;
