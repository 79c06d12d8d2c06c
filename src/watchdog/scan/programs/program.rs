//! Programs: operations on a few threads, made from a seed.

#![cfg(test)]

use std::fmt;

use fastrand::Rng;

use super::threads::{DEAD_AFTER, MARKS};
use crate::clock::{LONGEST, Nanos};

/// An operation. One that is not possible does nothing, so that any may be left out.
#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// Time passes.
    Pass(Nanos),
    /// The watchdog scans.
    Scan,
    /// The thread enters that mark.
    Enter(usize, usize),
    /// The thread begins an allowed block.
    Allow(usize),
    /// The thread leaves the mark or the block that it is in.
    Leave(usize),
    /// The thread leaves all it is in, and enters it again: another poll.
    Yield(usize),
    /// The thread panics. What it is in, beyond so many, is unwound.
    Panic(usize, usize),
    /// The thread gives its worker to another in `block_in_place`.
    InPlace { thread: usize, taker: usize, then: Then },
    /// The worker of the thread, which is in no poll, parks.
    Park(usize),
    /// It goes on, and that shows in its counters.
    GoOn(usize),
}

/// What a thread does that takes a worker over.
#[derive(Clone, Copy, Debug)]
pub(super) enum Then {
    Parks,
    GoesOn,
    /// It polls what has that mark. That alone shows that it runs the worker.
    Polls(usize),
}

#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) workers: usize,
    pub(super) ops: Vec<Op>,
}

pub(super) const MOST_WORKERS: usize = 3;

/// Threads beside those that run the workers at first: two that may take one over, and one with a root
/// future.
pub(super) const FURTHER_THREADS: usize = 3;

impl Program {
    pub(super) fn random(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let workers = rng.usize(1..=MOST_WORKERS);
        let scan_interval = rng.bool().then(|| rng.u64(5..30));
        let mut program = Self { workers, ops: Vec::new() };
        for _ in 0..rng.usize(5..60) {
            match (rng.u32(0..100), scan_interval) {
                (0..40, Some(interval)) => program.pass_with_scans(time(&mut rng), interval),
                (0..25, None) => program.ops.push(Op::Pass(time(&mut rng))),
                (25..50, _) => program.ops.push(Op::Scan),
                (50..53, _) if workers > 1 => program.push_detour(&mut rng),
                _ => program.push_step(&mut rng),
            }
        }
        program
    }

    fn push_step(&mut self, rng: &mut Rng) {
        let all = self.workers + FURTHER_THREADS;
        // Mostly one of those that run a worker, and most of all the first.
        let thread = match rng.u32(0..10) {
            0..4 => 0,
            4..8 => rng.usize(0..self.workers),
            _ => rng.usize(0..all),
        };
        let mark = rng.usize(0..MARKS.len());
        let then = match rng.u32(0..3) {
            0 => Then::Parks,
            1 => Then::GoesOn,
            _ => Then::Polls(mark),
        };
        let op = match rng.u32(0..100) {
            0..40 => Op::Enter(thread, mark),
            40..60 => Op::Leave(thread),
            60..70 => Op::Allow(thread),
            70..75 => Op::Yield(thread),
            75..80 => Op::Panic(thread, rng.usize(0..3)),
            80..92 => Op::InPlace { thread, taker: rng.usize(0..all), then },
            92..96 => Op::Park(thread),
            _ => Op::GoOn(thread),
        };
        self.ops.push(op);
    }

    /// The first thread gives its worker away, takes another over, and polls on before a scan has asked it
    /// where it is.
    fn push_detour(&mut self, rng: &mut Rng) {
        let (further, other) = (self.workers + rng.usize(0..2), rng.usize(1..self.workers));
        let mut mark = || rng.usize(0..MARKS.len());
        let then = Then::Polls(mark());
        self.ops.extend([
            Op::Enter(other, mark()),
            Op::Scan,
            Op::Enter(0, mark()),
            Op::InPlace { thread: 0, taker: further, then },
            Op::Panic(0, 0),
            Op::InPlace { thread: other, taker: 0, then: Then::GoesOn },
            Op::Enter(0, mark()),
        ]);
    }

    /// Time passes, with scans in steps of an interval.
    fn pass_with_scans(&mut self, time: Nanos, interval: Nanos) {
        let mut rest = time;
        while rest > interval {
            self.ops.extend([Op::Pass(interval), Op::Scan]);
            rest -= interval;
        }
        self.ops.push(Op::Pass(rest));
    }
}

/// Some time: a little, about a threshold, or about what is too long for an allowed block.
fn time(rng: &mut Rng) -> Nanos {
    match rng.u32(0..10) {
        0..4 => rng.u64(1..30),
        4..8 => {
            let thresholds = MARKS.iter().map(|mark| mark.threshold).filter(|time| *time < LONGEST);
            let thresholds: Vec<_> = thresholds.collect();
            thresholds[rng.usize(0..thresholds.len())] + rng.u64(0..3) - 1
        }
        8 => rng.u64(1..150),
        _ => DEAD_AFTER / 2 + rng.u64(0..3) - 1,
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} workers", self.workers)?;
        self.ops.iter().try_for_each(|op| writeln!(f, "    {op:?}"))
    }
}
