//! Every way in which less can be seen, forced: stalls are still found and told, with the cause
//! that can still be known, and it is said why there is no stack.
#![cfg(all(target_os = "linux", feature = "admin"))]

#[path = "../support/mod.rs"]
mod common;
mod found;
#[cfg(all(feature = "capture", target_arch = "x86_64"))]
mod loader;
#[cfg(all(feature = "capture", target_arch = "x86_64"))]
mod proc;
#[cfg(all(feature = "capture", target_arch = "x86_64"))]
mod restricted;
#[cfg(all(feature = "capture", target_arch = "x86_64"))]
mod stacks;
#[cfg(not(feature = "capture"))]
mod without_capture;

/// Prints why a test is left out, which fails where nothing may be.
#[cfg(feature = "capture")]
fn skip(why: &str) {
    println!("skipped: {why}");
    assert!(std::env::var_os("STALL_REQUIRE_REAL").is_none(), "STALL_REQUIRE_REAL=1: {why}");
}
