//! The status of a runtime: written by the watchdog and by our tasks on the runtime, read by
//! health, page, metrics and shedding.

use std::time::Duration;

use crate::clock::Nanos;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use Ordering::{Acquire, Relaxed, Release};

/// The watchdog writes it, except for `answers`, `ignored` and `started`. Anybody may read it.
#[derive(Debug, Default)]
pub(crate) struct RuntimeStatus {
    frozen: AtomicU64,
    unready: AtomicBool,
    dead: AtomicBool,
    sheds: AtomicBool,
    stalled: AtomicU32,
    saturated: AtomicU32,
    oldest: AtomicU64,
    answers: AtomicU64,
    /// Left out of the health of the process.
    ignored: AtomicBool,
    /// The tick task has been polled in real time, or there is none to wait for.
    started: AtomicBool,
}

/// What a runtime's status says at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuntimeSnapshot {
    pub(crate) name: &'static str,
    /// The runtime that the detector was started in.
    pub(crate) is_first: bool,
    /// Whether its freezes count for the health of the process.
    pub(crate) counts: bool,
    /// Had its first heartbeat, or has no timers to wait for.
    pub(crate) has_started: bool,
    pub(crate) workers: usize,
    pub(crate) stalled: usize,
    pub(crate) saturated: usize,
    /// How long the oldest stall in progress had lasted at the last scan.
    pub(crate) oldest: Duration,
    /// Time since the last tick; `None` before the first, and without timers.
    pub(crate) heartbeat_age: Option<Duration>,
    /// How long it has been frozen by now, less the environment's time.
    pub(crate) frozen: Duration,
    /// Counts, and was frozen for too long to get requests.
    pub(crate) unready: bool,
    /// Counts, and only a restart helps.
    pub(crate) dead: bool,
    /// The largest lag of each step, the last one is now. Empty unless asked for.
    pub(crate) lag: Vec<Option<Nanos>>,
}

/// A freeze of which less is left is the environment's.
const LEAST_FREEZE: Duration = Duration::from_millis(1);

impl RuntimeSnapshot {
    /// Frozen by the program itself, in a way that counts.
    pub(crate) fn is_frozen(&self) -> bool {
        self.counts && self.frozen >= LEAST_FREEZE
    }
}

/// What a scan counts on the workers of a runtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerCounts {
    pub(crate) stalled: u32,
    pub(crate) saturated: u32,
    /// How long the oldest stall in progress has lasted.
    pub(crate) oldest: Nanos,
}

/// What the health rules of the watchdog find at one scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RuntimeHealth {
    /// How long the runtime has been frozen by now, less the environment's time; 0 while it is not.
    pub(crate) frozen: Nanos,
    /// It was frozen for too long to get requests, and has not been well for long enough since.
    pub(crate) unready: bool,
    /// It was frozen for so long that only a restart helps.
    pub(crate) dead: bool,
    /// Requests are to be turned away.
    pub(crate) sheds: bool,
}

impl RuntimeStatus {
    pub(crate) fn found(&self) -> RuntimeHealth {
        RuntimeHealth {
            frozen: self.frozen.load(Relaxed),
            unready: self.unready.load(Relaxed),
            dead: self.dead.load(Relaxed),
            sheds: self.sheds(),
        }
    }

    pub(crate) fn workers(&self) -> WorkerCounts {
        WorkerCounts {
            stalled: self.stalled.load(Relaxed),
            saturated: self.saturated.load(Relaxed),
            oldest: self.oldest.load(Relaxed),
        }
    }

    pub(crate) fn set_workers(&self, counts: WorkerCounts) {
        self.stalled.store(counts.stalled, Relaxed);
        self.saturated.store(counts.saturated, Relaxed);
        self.oldest.store(counts.oldest, Relaxed);
    }

    pub(crate) fn set(&self, found: RuntimeHealth) {
        self.frozen.store(found.frozen, Relaxed);
        self.unready.store(found.unready, Relaxed);
        self.dead.store(found.dead, Relaxed);
        self.sheds.store(found.sheds, Relaxed);
    }

    #[inline]
    pub(crate) fn sheds(&self) -> bool {
        self.sheds.load(Relaxed)
    }

    /// A task of ours was polled that was started for that.
    pub(crate) fn answer(&self) {
        self.answers.fetch_add(1, Release);
    }

    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Acquire)
    }

    pub(crate) fn ignore(&self, ignored: bool) {
        self.ignored.store(ignored, Relaxed);
    }

    pub(crate) fn is_ignored(&self) -> bool {
        self.ignored.load(Relaxed)
    }

    pub(crate) fn start(&self) {
        self.started.store(true, Relaxed);
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Relaxed)
    }
}
