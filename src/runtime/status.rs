//! The status of a runtime: written by the watchdog and by our tasks on the runtime, read by
//! health, page, metrics and shedding.

use std::time::Duration;

use crate::clock::Nanos;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use Ordering::{Acquire, Relaxed, Release};

/// The watchdog writes it, except for `answers`, `ignored` and `started`. Anybody may read it.
#[derive(Debug, Default)]
pub(crate) struct RuntimeStatus {
    pub(super) frozen: AtomicU64,
    pub(super) unready: AtomicBool,
    pub(super) dead: AtomicBool,
    sheds: AtomicBool,
    pub(super) stalled: AtomicU32,
    pub(super) saturated: AtomicU32,
    pub(super) oldest: AtomicU64,
    answers: AtomicU64,
    /// Whether it is left out of the health of the process.
    pub(crate) ignored: AtomicBool,
    /// Whether the tick task was polled in real time.
    pub(crate) started: AtomicBool,
}

/// The status of a runtime at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuntimeSnapshot {
    pub(crate) name: &'static str,
    /// The runtime that the detector was started in.
    pub(crate) is_first: bool,
    /// Whether its freezes count for the health of the process.
    pub(crate) counts: bool,
    /// Whether it had its first heartbeat.
    pub(crate) has_started: bool,
    pub(crate) workers: usize,
    pub(crate) stalled: usize,
    pub(crate) saturated: usize,
    /// How long the oldest stall in progress had lasted at the last scan.
    pub(crate) oldest: Duration,
    /// Time since the last tick; `None` before the first.
    pub(crate) heartbeat_age: Option<Duration>,
    /// How long it has been frozen so far, without the environment's time.
    pub(crate) frozen: Duration,
    /// See [`RuntimeHealth::unready`]; `false` if it does not count.
    pub(crate) unready: bool,
    /// See [`RuntimeHealth::dead`]; `false` if it does not count.
    pub(crate) dead: bool,
    /// The largest lag of each step, oldest first. Empty unless the page fills it in.
    pub(crate) lag: Vec<Option<Nanos>>,
}

/// A freeze is the environment's if less than this is left without the environment's time.
const LEAST_FREEZE: Duration = Duration::from_millis(1);

impl RuntimeSnapshot {
    /// Whether it counts and is frozen by the program itself.
    pub(crate) fn is_frozen(&self) -> bool {
        self.counts && self.frozen >= LEAST_FREEZE
    }
}

/// The workers of a runtime at one scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerCounts {
    pub(crate) stalled: u32,
    pub(crate) saturated: u32,
    /// How long the oldest stall in progress has lasted.
    pub(crate) oldest: Nanos,
}

/// What the watchdog's health rules find at one scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuntimeHealth {
    /// How long the runtime has been frozen so far, without the environment's time; 0 while it is not.
    pub(crate) frozen: Nanos,
    /// It was frozen for too long to get requests, and has not recovered for long enough since.
    pub(crate) unready: bool,
    /// It is frozen for so long that only a restart helps.
    pub(crate) dead: bool,
    /// Requests should be turned away.
    pub(crate) sheds: bool,
}

impl RuntimeStatus {
    pub(crate) fn set_workers(&self, counts: WorkerCounts) {
        self.stalled.store(counts.stalled, Relaxed);
        self.saturated.store(counts.saturated, Relaxed);
        self.oldest.store(counts.oldest, Relaxed);
    }

    pub(crate) fn set_health(&self, health: RuntimeHealth) {
        self.frozen.store(health.frozen, Relaxed);
        self.unready.store(health.unready, Relaxed);
        self.dead.store(health.dead, Relaxed);
        self.sheds.store(health.sheds, Relaxed);
    }

    /// A tick woke in time: requests are let in, whatever has become of the watchdog.
    pub(crate) fn stop_shedding(&self) {
        self.sheds.store(false, Relaxed);
    }

    #[inline]
    pub(crate) fn sheds(&self) -> bool {
        self.sheds.load(Relaxed)
    }

    /// The runtime has polled the task of a ping.
    pub(crate) fn answer(&self) {
        self.answers.fetch_add(1, Release);
    }

    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Acquire)
    }
}
