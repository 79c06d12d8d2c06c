//! What a test needs that cargo does not bring. The packages beside include this file too.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::process::{Command, Stdio};

/// Prints why a test is left out. Fails instead under `STALL_REQUIRE_REAL`, where none may be.
#[track_caller]
pub(crate) fn skip(why: &str) {
    println!("skipped: {why}");
    assert!(std::env::var_os("STALL_REQUIRE_REAL").is_none(), "STALL_REQUIRE_REAL=1: {why}");
}

/// Whether a program can be run.
pub(crate) fn is_installed(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok()
}

/// The same; says so where it cannot.
#[track_caller]
pub(crate) fn has(program: &str) -> bool {
    let has = is_installed(program);
    if !has {
        skip(&format!("{program} is not installed (scripts/install-tools)"));
    }
    has
}

/// Whether the system counts breakpoints; without that nothing proves that a plain task computes
/// in one poll.
pub(crate) fn breakpoints_are_allowed() -> bool {
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
    let level = level.ok().and_then(|level| level.trim().parse::<i32>().ok());
    let allowed = level.is_some_and(|level| level <= 2);
    if !allowed {
        eprintln!("skipped: perf_event_paranoid is {level:?}, more than 2");
    }
    allowed
}
