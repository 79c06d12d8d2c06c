//! Counts the instructions of a marked poll, of a request through the layer and of a scan, and fails
//! where one takes more than `bounds.rs` allows.
//!
//! ```text
//! scripts/instructions [WORD]
//! ```
//!
//! `WORD` leaves only the figures whose name contains it. Valgrind's callgrind counts, so what else the
//! machine does does not matter. Instructions are not time: copies that wait for one another and misses
//! of a cache cost more than they count. `layer_overhead` and `poll_overhead` have the nanoseconds.

mod bounds;
mod callgrind;
mod cases;
#[path = "../../layer/floor.rs"]
mod floor;

use std::process::ExitCode;

use bounds::{FIGURES, Figure, Verdict};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (Some(callgrind::CASE), Some(name)) => {
            cases::run(&name);
            ExitCode::SUCCESS
        }
        (word, _) => count(word.unwrap_or_default()),
    }
}

/// How many times a figure is counted that is not within its bounds. A watchdog whose first scan is late, since
/// the machine has no CPU for it, asks the slot for something in all of a case.
const TRIES: u32 = 3;

/// What a figure takes, how much of that is beyond the floor, and what to say of that.
fn judge(figure: &Figure, floor: f64) -> (f64, f64, Verdict) {
    let mut tries = (0..TRIES).map(|_| {
        let takes = callgrind::count(figure.case);
        (takes, takes - floor, figure.judge(takes - floor))
    });
    let first = tries.next().expect("more than one");
    if first.2 == Verdict::Pass {
        return first;
    }
    tries.find(|(.., verdict)| *verdict == Verdict::Pass).unwrap_or(first)
}

/// Counts each figure and prints it beside its bound.
fn count(word: &str) -> ExitCode {
    println!("{}; bounds of {}", callgrind::versions(), bounds::MEASURED_WITH);
    println!(
        "{:44} {:>9} {:>9} {:>9} {:>9}",
        "instructions", "takes", "floor", "over it", "at most"
    );
    let mut status = ExitCode::SUCCESS;
    if word.is_empty() {
        let (takes, floor) = (callgrind::count("TaskMonitor"), callgrind::count("bare poll"));
        let over = takes - floor;
        println!(
            "{:44} {takes:>9.1} {floor:>9.1} {over:>9.1}",
            "to compare: a poll in a TaskMonitor"
        );
    }
    for figure in FIGURES.iter().filter(|figure| figure.what.contains(word)) {
        let floor = figure.floor.map_or(0.0, callgrind::count);
        let (takes, over, verdict) = judge(figure, floor);
        println!(
            "{:44} {takes:>9.1} {floor:>9.1} {over:>9.1} {:>9.1}  {verdict}",
            figure.what,
            figure.at_most()
        );
        if verdict != Verdict::Pass {
            status = ExitCode::FAILURE;
        }
    }
    status
}
