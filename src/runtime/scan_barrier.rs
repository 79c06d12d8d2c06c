//! ScanBarrier that somebody waits for, to miss nothing that the watchdog is about to see.

use crate::clock::Nanos;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

use Ordering::{Acquire, Release};

/// The watchdog numbers its scans here. Whoever waits for one wakes it.
#[derive(Debug, Default)]
pub(crate) struct ScanBarrier {
    wanted: AtomicBool,
    begun: AtomicU64,
    done: AtomicU64,
    /// Since when the oldest open poll lasts of which it is not known yet whether it is a stall.
    undecided: AtomicU64,
}

impl ScanBarrier {
    // The watchdog's side.

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Acquire)
    }

    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Release);
        // After it: who wants one from now on gets the next.
        self.wanted.swap(false, Ordering::AcqRel);
    }

    /// `undecided` is the latest time there is where none is open.
    pub(crate) fn end(&self, undecided: Nanos) {
        self.undecided.store(undecided, Release);
        self.done.store(self.begun.load(Acquire), Release);
    }
}

#[cfg(feature = "testing")]
impl ScanBarrier {
    /// The number of the first scan that begins after this, which comes as soon as the watchdog
    /// is woken.
    pub(crate) fn want(&self) -> u64 {
        let next = self.begun.load(Acquire) + 1;
        self.wanted.store(true, Release);
        next
    }

    pub(crate) fn is_done(&self, scan: u64) -> bool {
        self.done.load(Acquire) >= scan
    }

    /// Whether the last scan left a poll undecided that it knew before that time.
    pub(crate) fn is_undecided(&self, before: Nanos) -> bool {
        self.undecided.load(Acquire) < before
    }
}
