//! How often the admin thread wakes up. Under an attack there is something to do at any time, and each time that it
//! is done at once costs the service a switch between threads and what the caches of its core hold. So it is done
//! in batches.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::runtime::registry::Registry;

/// As often it wakes up at once: more than pages for a browser and a few scrapers take.
const BURST: u64 = 20;
/// After that, once in as long: 100 times a second. A request waits for a few of these at most.
const APART: Nanos = 10_000_000;
/// Once in as long in a crowd: while connections are dropped for others.
const APART_IN_A_CROWD: Nanos = 100_000_000;
/// How long it takes for a crowd after a connection was dropped.
const CROWD: Nanos = 1_000_000_000;
/// If more are dropped meanwhile, it wakes up as much sooner: a connection has to have its answer before as many
/// have come that its place is another's.
const DROPPED_MEANWHILE: u64 = 64;

/// Puts waits off that come more often than that.
pub(super) struct Wakes {
    /// Counts what is dropped.
    registry: Arc<Registry>,
    /// What it had counted at the last wait. The thread alone reads and writes this and the rest.
    dropped: AtomicU64,
    /// Until when it is a crowd.
    crowded_until: AtomicU64,
    /// When the next wait would be, if they came evenly.
    due: AtomicU64,
}

impl Wakes {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { registry, dropped: zero(), crowded_until: zero(), due: zero() }
    }

    /// To be called before the thread waits for something to do. Sleeps meanwhile if it has waited often.
    pub(super) fn pace(&self) {
        let dropped = self.registry.admin_dropped.load(Relaxed);
        let since = dropped.saturating_sub(self.dropped.swap(dropped, Relaxed));
        let now = clock::now();
        let due = next_due(self.due.load(Relaxed), now, self.apart(since, now));
        self.due.store(due, Relaxed);
        if due > now {
            std::thread::sleep(Duration::from_nanos(due - now));
        }
    }

    /// Between two waits, where so many connections were dropped since the last.
    fn apart(&self, dropped: u64, now: Nanos) -> Nanos {
        if dropped > 0 {
            self.crowded_until.store(now + CROWD, Relaxed);
        }
        if now < self.crowded_until.load(Relaxed) { in_a_crowd(dropped) } else { APART }
    }
}

/// The same in a crowd.
fn in_a_crowd(dropped: u64) -> Nanos {
    let apart = APART_IN_A_CROWD * DROPPED_MEANWHILE / dropped.max(1);
    apart.clamp(APART, APART_IN_A_CROWD)
}

fn next_due(due: Nanos, now: Nanos, apart: Nanos) -> Nanos {
    // What was not used is left, up to a burst.
    due.max(now.saturating_sub(BURST * APART)) + apart
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::registry::LIMITS;

    const MINUTE: Nanos = 60_000_000_000;

    #[test]
    fn a_burst_is_not_delayed_and_what_comes_after_it_is_even() {
        let mut due = 0;
        for _ in 0..BURST {
            due = next_due(due, MINUTE, APART);
            assert!(due <= MINUTE);
        }
        for number in 1..100 {
            // It wakes up when it was due, and waits at once.
            due = next_due(due, due.max(MINUTE), APART);
            assert_eq!(due, MINUTE + number * APART);
        }
    }

    #[test]
    fn whoever_wakes_up_seldom_is_never_delayed() {
        let (mut now, mut due) = (0, 0);
        for _ in 0..1000 {
            now += APART;
            due = next_due(due, now, APART);
            assert!(due <= now);
        }
    }

    #[test]
    fn in_a_crowd_it_wakes_up_seldom_and_yet_before_a_place_is_lost() {
        assert_eq!([0, 1, DROPPED_MEANWHILE].map(in_a_crowd), [APART_IN_A_CROWD; 3]);
        assert_eq!(in_a_crowd(2 * DROPPED_MEANWHILE), APART_IN_A_CROWD / 2);
        assert_eq!(in_a_crowd(u64::MAX), APART);
    }

    #[test]
    fn it_is_a_crowd_for_a_while_after_a_connection_was_dropped() {
        let wakes = Wakes::new(Registry::new(LIMITS));
        assert_eq!(wakes.apart(0, MINUTE), APART);
        assert_eq!(wakes.apart(1, MINUTE), APART_IN_A_CROWD);
        assert_eq!(wakes.apart(0, MINUTE + CROWD - 1), APART_IN_A_CROWD);
        assert_eq!(wakes.apart(0, MINUTE + CROWD), APART);
    }

    #[test]
    fn what_was_dropped_counts_once() {
        let registry = Registry::new(LIMITS);
        let wakes = Wakes::new(Arc::clone(&registry));
        registry.admin_dropped.fetch_add(1, Relaxed);
        wakes.pace();
        let until = wakes.crowded_until.load(Relaxed);
        assert!(until >= CROWD);
        wakes.pace();
        assert_eq!(wakes.crowded_until.load(Relaxed), until);
    }
}
