//! Lets a test wait for the next scan, so that it misses nothing that the watchdog is about to see.

use crate::clock::Nanos;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

use Ordering::{Acquire, Release};

/// The numbers of the scans that began and ended. Whoever waits for a scan unparks the watchdog.
#[derive(Debug, Default)]
pub(crate) struct ScanBarrier {
    wanted: AtomicBool,
    begun: AtomicU64,
    done: AtomicU64,
    /// When the oldest open poll began that may still become a stall; `Nanos::MAX` if there is none.
    undecided: AtomicU64,
}

impl ScanBarrier {
    // The watchdog's side.

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Acquire)
    }

    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Release);
        // In this order: whoever wants a scan from now on gets the next one.
        self.wanted.swap(false, Ordering::AcqRel);
    }

    pub(crate) fn end(&self, undecided: Nanos) {
        self.undecided.store(undecided, Release);
        self.done.store(self.begun.load(Acquire), Release);
    }
}

#[cfg(feature = "testing")]
impl ScanBarrier {
    /// The number of the next scan, which begins as soon as the watchdog is unparked.
    pub(crate) fn want(&self) -> u64 {
        // It meets the `swap` of a scan. Either that comes later, and the scan sees what was there before; or
        // it came before, and its number is read here.
        self.wanted.swap(true, Ordering::AcqRel);
        let next = self.begun.load(Acquire) + 1;
        // Again: the scan before that one may have taken the wish.
        self.wanted.store(true, Release);
        next
    }

    pub(crate) fn is_done(&self, scan: u64) -> bool {
        self.done.load(Acquire) >= scan
    }

    /// Whether the last scan left a poll undecided that began before that time.
    pub(crate) fn is_undecided(&self, before: Nanos) -> bool {
        self.undecided.load(Acquire) < before
    }
}
