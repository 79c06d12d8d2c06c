//! Each fault in each build: cause, detail, handler, site, fix and stack are as the table says.
#![cfg(target_os = "linux")]

mod addr2line;
mod large;
#[path = "../../../support/needs.rs"]
mod needs;
mod programs;
mod report;
mod table;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::process::Command;

use needs::{is_installed, skip};
use programs::PROGRAMS;
use report::{Known, Report};
use table::{Expected, FAULTS, Kind};

/// So often a fault is committed on a machine that leaves no CPU for it.
const TRIES: u32 = 10;

/// One after the other: the tests are at work beside each other already.
#[track_caller]
fn commit_all(program: &Path, known: Known, check: impl Fn(&Report)) {
    // Without debug information nothing is proven of a task.
    let is_found = |kind| known.has_lines() || kind != Kind::Task;
    for expected in FAULTS.iter().filter(|expected| is_found(expected.kind)) {
        commit(program, *expected, known, &check);
    }
}

/// Nothing is checked of a fault that cannot be committed here.
#[track_caller]
fn commit(program: &Path, expected: Expected, known: Known, check: impl Fn(&Report)) {
    for attempt in 1.. {
        let Some(report) = Report::of(program, expected) else { break };
        let checked = catch_unwind(AssertUnwindSafe(|| {
            report.check(known);
            check(&report);
        }));
        match checked {
            Ok(()) => break,
            Err(_) if attempt < TRIES && report.is_disturbed() => {
                println!("{}: once more on a busy machine", expected.name);
            }
            Err(panic) => resume_unwind(panic),
        }
    }
}

#[test]
fn the_table_has_every_fault() {
    let output = Command::new(&PROGRAMS.debug).output().expect("the program runs");
    let printed = String::from_utf8(output.stdout).expect("UTF-8");
    let known: Vec<_> = FAULTS.iter().map(|expected| expected.name).collect();
    assert_eq!(printed.lines().collect::<Vec<_>>(), known);
}

#[test]
fn in_a_debug_build() {
    commit_all(&PROGRAMS.debug, Known::FunctionAndLine, |_| {});
}

#[test]
fn in_a_release_build() {
    commit_all(&PROGRAMS.release, Known::FunctionAndLine, |_| {});
}

#[test]
fn in_a_build_that_aborts_in_panics() {
    commit_all(&PROGRAMS.abort, Known::FunctionAndLine, |_| {});
}

#[test]
fn in_a_build_with_line_tables() {
    commit_all(&PROGRAMS.lines, Known::LineTables, |_| {});
}

#[test]
fn without_debug_information() {
    let Some(program) = &PROGRAMS.undebugged else { return skip("there is no strip") };
    commit_all(program, Known::Function, |_| {});
}

/// Other readers of debug information take memory by its size: 100 MB and more here.
#[test]
fn with_250_mb_of_debug_information() {
    let Some(program) = &PROGRAMS.large else { return skip("there is no cc or ld") };
    let size = std::fs::metadata(program).expect("it was made").len();
    assert!(size > 250 << 20, "{size} bytes");
    for name in ["thread-sleep", "spin"] {
        let expected = FAULTS.iter().find(|expected| expected.name == name).expect("a fault");
        let is_checked = Cell::new(false);
        commit(program, *expected, Known::FunctionAndLine, |report| {
            let [peak, after] = ["peak", "after"].map(|when| report.memory(when));
            println!("{name}: {} KiB more at the peak, {} KiB after", peak >> 10, after >> 10);
            assert!(peak < 16 << 20, "{peak} bytes more");
            assert!(after < 4 << 20, "{after} bytes are kept");
            is_checked.set(true);
        });
        assert!(is_checked.get(), "it can be committed anywhere");
    }
}

#[test]
fn without_symbols() {
    let Some(program) = &PROGRAMS.stripped else { return skip("there is no strip") };
    if !is_installed("addr2line") || !is_installed("readelf") {
        return skip("there is no addr2line or readelf");
    }
    commit_all(program, Known::Nothing, |report| {
        if report.has_place() {
            addr2line::check(report, program, &PROGRAMS.release);
        }
    });
}
