//! Harmlessness: what a program's calls return is what they return without a detector.
#![cfg(all(target_os = "linux", any(target_arch = "aarch64", target_arch = "x86_64")))]

mod busy;
mod call;
mod drive;
mod files;
mod filter;
mod foreign;
mod locks;
mod network;
#[path = "../../../support/mod.rs"]
mod support;
mod table;
mod time;
