//! How a thread of the service wakes the watchdog while that sleeps for long.

use std::sync::OnceLock;

use crate::sync::{AtomicBool, Ordering, Thread, current};

use Ordering::{AcqRel, Acquire, Release};

/// Armed by the watchdog before it slows down. The first thread that calls [`wake`](Self::wake) then
/// disarms it and unparks the watchdog, so that an idle time ends with one wake-up, whatever comes.
#[derive(Debug, Default)]
pub(crate) struct WakeUp {
    armed: AtomicBool,
    watchdog: OnceLock<Thread>,
}

impl WakeUp {
    /// Ends an idle time. Costs one load if there is none.
    pub(crate) fn wake(&self) {
        if self.is_armed()
            && self.armed.swap(false, AcqRel)
            && let Some(watchdog) = self.watchdog.get()
        {
            watchdog.unpark();
        }
    }

    /// Whether nobody has called [`wake`](Self::wake) since [`arm`](Self::arm).
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Acquire)
    }

    // The watchdog's side.

    /// From now on, the first call of [`wake`](Self::wake) unparks the calling thread.
    pub(crate) fn arm(&self) {
        self.watchdog.get_or_init(current);
        self.armed.store(true, Release);
    }

    pub(crate) fn disarm(&self) {
        self.armed.store(false, Release);
    }
}
