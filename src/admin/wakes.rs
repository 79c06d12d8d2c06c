//! How often the admin thread wakes up. Under an attack there is something to do at any time, and each time that it
//! is done at once costs the service a switch between threads. So it is done in batches.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::{self, Nanos};

/// As often it wakes up at once: more than pages for a browser and a few scrapers take.
const BURST: u64 = 20;
/// After that, once in as long: 100 times a second. A request waits for a few of these at most.
const APART: Nanos = 10_000_000;

/// Puts waits off that come more often than that.
#[derive(Default)]
pub(super) struct Wakes {
    /// When the next one would be, if they came evenly. The thread alone reads and writes it.
    due: AtomicU64,
}

impl Wakes {
    /// To be called before the thread waits for something to do. Sleeps meanwhile if it has waited often.
    pub(super) fn pace(&self) {
        let now = clock::now();
        let due = next_due(self.due.load(Relaxed), now);
        self.due.store(due, Relaxed);
        if due > now {
            std::thread::sleep(Duration::from_nanos(due - now));
        }
    }
}

fn next_due(due: Nanos, now: Nanos) -> Nanos {
    // What was not used is left, up to a burst.
    due.max(now.saturating_sub(BURST * APART)) + APART
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Nanos = 60_000_000_000;

    #[test]
    fn a_burst_is_not_delayed_and_what_comes_after_it_is_even() {
        let mut due = 0;
        for _ in 0..BURST {
            due = next_due(due, MINUTE);
            assert!(due <= MINUTE);
        }
        for number in 1..100 {
            // It wakes up when it was due, and waits at once.
            due = next_due(due, due.max(MINUTE));
            assert_eq!(due, MINUTE + number * APART);
        }
    }

    #[test]
    fn whoever_wakes_up_seldom_is_never_delayed() {
        let (mut now, mut due) = (0, 0);
        for _ in 0..1000 {
            now += APART;
            due = next_due(due, now);
            assert!(due <= now);
        }
    }
}
