//! A capture of a thread that waits in the kernel, in all and in parts, and its names.

use std::time::Instant;

use tower_stall::{Capture, bench_capture_parts, bench_captures, bench_names};
use tower_stall_benches::{Rounds, Target};

use super::subject::Subject;

/// Of one measurement; it is their median.
const TIMES: usize = 101;

const WHOLE: &str = "capture";
const LOOK: &str = "  reading /proc";
const COPY: &str = "  copy";
const UNWIND: &str = "  unwinding";
const KNOWN: &str = "names, known";
const FIRST: &str = "names, first of all";

pub(super) fn run() {
    let subject = Subject::that_waits();
    let mut capture = bench_captures(Capture::NoSignal);
    let (mut parts, mut name_frames) = (bench_capture_parts(), bench_names());
    // It has told its number, and may not wait yet.
    let stack = loop {
        match capture(subject.thread) {
            Some(stack) => break stack,
            None => std::thread::yield_now(),
        }
    };
    assert!(!stack.by_signal && stack.is_whole);
    let names = name_frames(&stack);
    println!(
        "a capture of a thread that waits; {} frames, {names} with the inlined ones",
        stack.frames
    );
    let contenders = [WHOLE, LOOK, COPY, UNWIND, KNOWN, FIRST].map(|name| (name, name));
    let rounds = Rounds::run("µs", &contenders, |name| {
        let mut part = |index: usize| {
            median(TIMES, || parts(subject.thread).expect("it waits")[index].as_secs_f64() * 1e6)
        };
        match name {
            WHOLE => median(TIMES, || microseconds(|| assert!(capture(subject.thread).is_some()))),
            LOOK => part(0),
            COPY => part(1),
            UNWIND => part(2),
            KNOWN => median(TIMES, || microseconds(|| assert!(name_frames(&stack) > 0))),
            _ => {
                // So that the debug information is read anew.
                backtrace::clear_symbol_cache();
                let mut name_frames = bench_names();
                microseconds(|| assert!(name_frames(&stack) > 0))
            }
        }
    });
    rounds.print(WHOLE);
    rounds.check_alone(Target::AtMost(500.0), "capture without a signal, µs", WHOLE);
    println!();
}

fn median(times: usize, mut measure: impl FnMut() -> f64) -> f64 {
    let mut values: Vec<f64> = (0..times).map(|_| measure()).collect();
    values.sort_by(f64::total_cmp);
    values[times / 2]
}

fn microseconds(run: impl FnOnce()) -> f64 {
    let start = Instant::now();
    run();
    start.elapsed().as_secs_f64() * 1e6
}
