//! Runs cases under callgrind, each in a process of its own.
//!
//! It counts while [`stall_measured`] runs, on the thread that runs it, and writes the count down
//! when [`stall_batch_over`] is called. Valgrind is told their names.

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;

/// Argument before the name of the case to run.
pub(crate) const CASE: &str = "--case";

/// Batches of one case, of which the cheapest counts: the first one warms up.
const BATCHES: usize = 5;

/// What the process of a case prints before the number of its operations.
const OPERATIONS: &str = "operations a batch: ";

// The side that is counted.

/// Runs `batch`, of that many operations, several times.
pub(crate) fn batches(operations: u32, mut batch: impl FnMut()) {
    println!("{OPERATIONS}{operations}");
    for _ in 0..BATCHES {
        batch();
        stall_batch_over();
    }
}

/// Counts what `operation` takes.
#[inline(never)]
pub(crate) fn stall_measured(mut operation: impl FnMut()) {
    operation();
    black_box(());
}

#[inline(never)]
fn stall_batch_over() {
    black_box(());
}

// The side that counts.

/// Instructions for each operation of a case.
pub(crate) fn count(case: &str) -> f64 {
    let folder = std::env::temp_dir().join(format!("stall-instructions-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder for the counts");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--collect-atstart=no", "--toggle-collect=*stall_measured*"])
        .arg("--dump-after=*stall_batch_over*")
        .arg(format!("--callgrind-out-file={}", folder.join("count").display()))
        .arg(std::env::current_exe().expect("this program"))
        .args([CASE, case])
        .output()
        .expect("valgrind runs");
    let printed = String::from_utf8_lossy(&output.stdout);
    let operations = printed.lines().find_map(|line| line.strip_prefix(OPERATIONS));
    let operations: Option<f64> = operations.and_then(|number| number.parse().ok());
    let (true, Some(operations)) = (output.status.success(), operations) else {
        panic!("{case} failed: {printed}\n{}", String::from_utf8_lossy(&output.stderr));
    };
    let totals: Vec<f64> = (1..=BATCHES).map(|batch| total(&folder, batch)).collect();
    fs::remove_dir_all(&folder).expect("the folder is ours");
    let least = totals.iter().copied().fold(f64::INFINITY, f64::min);
    assert!(least > 0.0, "{case}: callgrind has not found what to count: {totals:?}");
    least / operations
}

/// The count of one batch.
fn total(folder: &Path, batch: usize) -> f64 {
    let file = folder.join(format!("count.{batch}"));
    let text = fs::read_to_string(&file).expect("a file for each batch");
    let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
    total.and_then(|number| number.parse().ok()).expect("a file of callgrind has a summary")
}

/// Of what makes and what counts the code.
pub(crate) fn versions() -> String {
    let version = |program: &str| {
        let output = Command::new(program).arg("--version").output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_else(|error| format!("{program}: {error}"))
    };
    format!("{}, {}, {}", version("rustc"), version("valgrind"), std::env::consts::ARCH)
}
