//! A capture of a thread that waits in the kernel, in all and in parts, and its names.

use std::time::Instant;

use tower_stall::{BenchCaptures, BenchParts, Capture};
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
    let mut captures = BenchCaptures::new(Capture::NoSignal);
    // It has told its number, and may not wait yet.
    let stack = loop {
        match captures.take(subject.thread) {
            Some(stack) => break stack,
            None => std::thread::yield_now(),
        }
    };
    assert!(!stack.by_signal() && stack.is_whole());
    let names = captures.symbolize(&stack);
    println!(
        "a capture of a thread that waits; {} frames, {names} with the inlined ones",
        stack.frames()
    );
    let contenders = [WHOLE, LOOK, COPY, UNWIND, KNOWN, FIRST].map(|name| (name, name));
    let rounds = Rounds::run("µs", &contenders, |name| {
        let part = |captures: &mut BenchCaptures, part: fn(BenchParts) -> f64| {
            median(TIMES, || part(captures.parts(subject.thread).expect("it waits")))
        };
        match name {
            WHOLE => {
                median(TIMES, || microseconds(|| assert!(captures.take(subject.thread).is_some())))
            }
            LOOK => part(&mut captures, |parts| parts.look.as_secs_f64() * 1e6),
            COPY => part(&mut captures, |parts| parts.copy.as_secs_f64() * 1e6),
            UNWIND => part(&mut captures, |parts| parts.unwind.as_secs_f64() * 1e6),
            KNOWN => median(TIMES, || microseconds(|| assert!(captures.symbolize(&stack) > 0))),
            _ => {
                // So that the debug information is read anew.
                backtrace::clear_symbol_cache();
                let mut new = BenchCaptures::new(Capture::Off);
                microseconds(|| assert!(new.symbolize(&stack) > 0))
            }
        }
    });
    rounds.print(WHOLE);
    Target::AtMost(500.0).check("capture without a signal, µs", rounds.alone(WHOLE));
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
