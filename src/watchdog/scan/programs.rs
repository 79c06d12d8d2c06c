//! Random programs: what the watchdog finds of them is what a simple reference expects.
//!
//! A program is a list of operations on a few threads: marks entered and left, allowed blocks,
//! `block_in_place`, panics, time, scans. [`Threads`] says what it does as plain data. [`Machine`] does
//! it with real marks, guards and slots, and scans with the real [`Scanner`](super::Scanner). The
//! [`reference`] knows only what the threads did at the time of each scan.

#![cfg(test)]

mod machine;
mod once_wrong;
mod program;
mod reference;
mod threads;

use std::panic::{AssertUnwindSafe, catch_unwind};

use machine::Machine;
use once_wrong::ONCE_WRONG;
use program::{MOST_WORKERS, Op, Program};
use reference::KINDS;
use threads::Threads;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::clock::Nanos;

const PROGRAMS: u64 = 10_000;
/// So many stalls and freezes of each kind have to be among them, or the programs do not try it.
const LEAST: usize = 100;

/// How many there are of each kind.
type Counts = [usize; KINDS.len()];

fn check(program: &Program, tokio: &Handle) -> Result<Counts, String> {
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

/// Runtimes with one worker, with two and so on. They do nothing: a program says what they seem to do.
struct Runtimes(Vec<Runtime>);

impl Runtimes {
    fn new() -> Self {
        let runtime = |workers| {
            Builder::new_multi_thread().worker_threads(workers).build().expect("a runtime")
        };
        Self((1..=MOST_WORKERS).map(runtime).collect())
    }

    /// Runs a program both ways. An error says how they differ, or that something panicked.
    fn run(&self, program: &Program) -> Result<Counts, String> {
        let tokio = self.0[program.workers - 1].handle();
        let checked = catch_unwind(AssertUnwindSafe(|| check(program, tokio)));
        checked.unwrap_or_else(|_| Err("a panic".into()))
    }
}

/// What the environment says.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().expect("a number"))
}

#[test]
fn what_is_found_of_random_programs_is_what_is_expected() {
    let runtimes = Runtimes::new();
    let seed = number("STALL_SEED");
    let programs = number("STALL_PROGRAMS").unwrap_or(PROGRAMS);
    let mut counts = Counts::default();
    for seed in seed.map_or(1..=programs, |seed| seed..=seed) {
        let program = Program::random(seed);
        match runtimes.run(&program) {
            Ok(more) => (0..KINDS.len()).for_each(|kind| counts[kind] += more[kind]),
            Err(_) => {
                let program = shrink(program, |program| runtimes.run(program).is_err());
                let differs = runtimes.run(&program).expect_err("it fails");
                panic!("STALL_SEED={seed}, without what does not matter:\n{program}{differs}");
            }
        }
    }
    let counts: Vec<_> = KINDS.iter().zip(counts).collect();
    assert!(seed.is_some() || counts.iter().all(|(_, count)| *count >= LEAST), "{counts:?}");
}

#[test]
fn what_was_once_wrong_is_right() {
    let runtimes = Runtimes::new();
    for (what, workers, ops) in ONCE_WRONG {
        let program = Program { workers, ops: ops.to_vec() };
        let differs = runtimes.run(&program).err();
        assert!(differs.is_none(), "{what}:\n{program}{}", differs.unwrap_or_default());
    }
}

/// The environment holds up a nested mark. Its poll, which waits for it, is not due before.
#[test]
fn no_scan_is_due_in_the_past_while_the_environment_holds_up_a_nested_mark() {
    const LATE: Nanos = 5_000_000;
    let runtimes = Runtimes::new();
    let mut threads = Threads::new(1);
    let mut machine = Machine::new(&threads, runtimes.0[0].handle());
    for op in [Op::Enter(0, 3), Op::Enter(0, 2), Op::Scan, Op::Pass(LATE)] {
        assert!(threads.apply(op));
        machine.apply(op, &threads);
    }
    machine.scan(&threads, LATE);
    for _ in 0..10 {
        threads.now += 25;
        machine.scan(&threads, 0);
    }
    let found = machine.found().stalls;
    let handlers: Vec<_> = found.iter().map(|stall| &*stall.handler).collect();
    assert_eq!(handlers, ["send"], "{found:#?}");
}
