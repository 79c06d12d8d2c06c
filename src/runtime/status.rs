//! How a runtime does: what the watchdog last found, for health and shedding, and what tasks of
//! ours on the runtime answered.

use crate::clock::Nanos;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

use Ordering::{Acquire, Relaxed, Release};

/// Written by the watchdog, except for the answers, and read by anybody.
#[derive(Debug, Default)]
pub(crate) struct RuntimeStatus {
    frozen: AtomicU64,
    unready: AtomicBool,
    dead: AtomicBool,
    sheds: AtomicBool,
    answers: AtomicU64,
    /// Left out of the health of the process.
    ignored: AtomicBool,
    /// The tick task has been polled in real time, or there is none to wait for.
    started: AtomicBool,
}

/// What the watchdog finds at one scan.
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
