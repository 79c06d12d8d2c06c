//! The soak fails where something is missed, wrong, blamed or lost. (`scripts/soak` runs one that must not.)
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use std::path::Path;
use std::process::Command;

/// Half a minute.
const MINUTES: &str = "0.5";

#[test]
fn what_is_broken_by_hand_is_told() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tower-stall-soak"));
    // Where cargo compiles, so that the names of files are short.
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    command.args([MINUTES, "1"]).env("STALL_SOAK_BREAK", "layer,line,hello,leak");
    let output = command.output().expect("it runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{printed}\n{errors}");
    for complaint in [
        // Its handler lies outside of the layer.
        "seed 1: Missed: fault",
        // It is expected one line further down.
        "seed 1: Wrong(\"the site is locks::std_rwlock at tests/faults/src/locks.rs:",
        // It blocks, and is not among the faults.
        "of GET /hello on ",
        "seed 1: file descriptors: ",
    ] {
        assert!(printed.contains(complaint), "no {complaint:?} in:\n{printed}\n{errors}");
    }
    assert!(printed.contains("\nfailed\n"));
}
