//! The loop of the watchdog's thread: sleep, scan, hand over the events.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::events::Events;
use super::scan::Scanner;
use super::settings::WatchdogSettings;
use crate::clock::{self, Nanos};
use crate::runtime::registry::Registry;

/// Scans until `stop` is set; the thread has to be unparked then. `consume` gets the events of each
/// scan on this thread, and must not block.
pub(crate) fn run(
    registry: Arc<Registry>,
    settings: WatchdogSettings,
    mut consume: impl FnMut(&mut Events),
    stop: &AtomicBool,
) {
    let mut scanner = Scanner::new(Arc::clone(&registry), settings);
    let mut jitter = Jitter(clock::now() | 1);
    let mut last = clock::now();
    while !stop.load(Ordering::Acquire) {
        let shortest = registry.labels.shortest_threshold();
        let interval = interval(settings.scan_interval, registry.threshold, shortest);
        // A poll is counted when it reaches its threshold, not up to a scan later.
        let wake = (last + jitter.around(interval)).min(scanner.open_polls.due);
        let barrier = &registry.scan_barrier;
        let now = sleep_until(wake, || stop.load(Ordering::Acquire) || barrier.is_wanted());
        barrier.begin();
        let events = scanner.scan(now, now.saturating_sub(wake));
        consume(events);
        events.clear();
        // Last: whoever waits for a scan finds its results in the metrics.
        barrier.end(scanner.open_polls.undecided_since);
        last = now;
    }
}

/// The scan interval, shortened if the shortest threshold of a route is below the detector's.
fn interval(scan: Nanos, threshold: Nanos, shortest: Nanos) -> Nanos {
    if shortest < threshold { scan.min(shortest / 4) } else { scan }
}

/// Sleeps until `wake`, or until `at_once` holds. Returns the time.
fn sleep_until(wake: Nanos, at_once: impl Fn() -> bool) -> Nanos {
    loop {
        let now = clock::now();
        if now >= wake || at_once() {
            return now;
        }
        std::thread::park_timeout(Duration::from_nanos(wake - now));
    }
}

/// Varies the scan interval, so that scans do not run in step with what they sample.
struct Jitter(u64);

impl Jitter {
    /// `interval` ± 20 %.
    fn around(&mut self, interval: Nanos) -> Nanos {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let fifth = (interval / 5).max(1);
        interval - fifth + self.0 % (2 * fifth + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_as_set_unless_a_route_needs_a_shorter_one() {
        assert_eq!(interval(100, 100, 100), 100);
        assert_eq!(interval(25, 100, Nanos::MAX), 25);
        assert_eq!(interval(25, 100, 20), 5);
        assert_eq!(interval(2, 100, 20), 2);
    }

    #[test]
    fn scans_scatter_within_a_fifth_and_keep_their_mean() {
        let mut jitter = Jitter(42);
        let intervals: Vec<_> = (0..10_000).map(|_| jitter.around(1_000_000)).collect();
        assert!(intervals.iter().all(|interval| (800_000..=1_200_000).contains(interval)));
        let mean = intervals.iter().sum::<u64>() / 10_000;
        assert!((990_000..=1_010_000).contains(&mean), "{mean}");
    }
}
