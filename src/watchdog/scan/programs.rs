//! Random programs: what the watchdog finds of them is what a simple reference expects.
//!
//! A program is a list of operations on a few threads: marks entered and left, allowed blocks,
//! `block_in_place`, panics, time, scans. [`Threads`] says what it does as plain data. [`Machine`] does
//! it with real marks, guards and slots, and scans with the real [`Scanner`](super::Scanner). The
//! [`reference`] knows only what the threads did at the time of each scan.

#![cfg(test)]

mod machine;
mod program;
mod reference;
mod threads;

use std::panic::{AssertUnwindSafe, catch_unwind};

use machine::Machine;
use program::Program;
use reference::KINDS;
use threads::Threads;

const PROGRAMS: u64 = 10_000;
/// So many stalls and freezes of each kind have to be among them, or the programs do not try it.
const LEAST: usize = 100;

/// How many there are of each kind.
type Counts = [usize; KINDS.len()];

/// Runs a program both ways. An error says how they differ.
fn check(program: &Program, tokio: &tokio::runtime::Handle) -> Result<Counts, String> {
    let mut threads = Threads::new(program.workers);
    let mut machine = Machine::new(&threads, tokio);
    for op in &program.ops {
        if threads.apply(*op) {
            machine.apply(*op, &threads);
        }
    }
    let expected = reference::expect(&threads);
    let found = machine.found();
    let same_stalls = expected.stalls.len() == found.stalls.len()
        && expected.stalls.iter().zip(&found.stalls).all(|(expected, found)| expected.is(found));
    if same_stalls && expected.health == found.health {
        return Ok(expected.count());
    }
    Err(format!("expected {expected:#?}\nfound {found:#?}"))
}

/// The same. A panic of what is tested is an error too.
fn run(program: &Program, tokio: &tokio::runtime::Handle) -> Result<Counts, String> {
    let checked = catch_unwind(AssertUnwindSafe(|| check(program, tokio)));
    checked.unwrap_or_else(|_| Err("a panic".into()))
}

/// Leaves out operations, many at a time and then few, as long as it fails.
fn shrink(mut program: Program, fails: impl Fn(&Program) -> bool) -> Program {
    let mut length = program.ops.len();
    while length > 0 {
        let mut at = 0;
        while at < program.ops.len() {
            let mut shorter = program.clone();
            shorter.ops.drain(at..(at + length).min(program.ops.len()));
            if fails(&shorter) {
                program = shorter;
            } else {
                at += length;
            }
        }
        length /= 2;
    }
    program
}

/// A runtime with so many workers, which do nothing: the program says what they seem to do.
fn runtime(workers: usize) -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers).build().expect("a runtime")
}

#[test]
fn what_is_found_of_random_programs_is_what_is_expected() {
    let runtimes = [1, 2, 3].map(runtime);
    let of = |program: &Program| runtimes[program.workers - 1].handle();
    let seed = std::env::var("STALL_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let first = seed.unwrap_or(1);
    let last = if seed.is_some() { first } else { PROGRAMS };
    let mut counts = Counts::default();
    for seed in first..=last {
        let program = Program::random(seed);
        match run(&program, of(&program)) {
            Ok(more) => (0..KINDS.len()).for_each(|kind| counts[kind] += more[kind]),
            Err(_) => {
                let program = shrink(program, |program| run(program, of(program)).is_err());
                let differs = run(&program, of(&program)).expect_err("it fails");
                panic!("STALL_SEED={seed}, left out what does not matter:\n{program}{differs}");
            }
        }
    }
    let counts: Vec<_> = KINDS.iter().zip(counts).collect();
    println!("{counts:?}");
    assert!(seed.is_some() || counts.iter().all(|(_, count)| *count >= LEAST), "{counts:?}");
}
