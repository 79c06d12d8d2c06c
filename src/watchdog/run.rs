//! The loop of the watchdog's thread: sleep, scan, hand over the events. After a panic it begins anew with
//! what is in the slots and counters by then.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::events::Events;
use super::scan::{ScanStart, Scanner};
use super::settings::WatchdogSettings;
use crate::clock::{self, Nanos};
use crate::runtime::registry::Registry;
use crate::vitals::OwnThread;

/// How long to wait after the first panic; twice as long after each further one.
const PAUSE: Nanos = if cfg!(test) { 10_000_000 } else { 1_000_000_000 };

/// How many times as often as usual polls that become stalls soon have it scan at most.
const MOST_EARLY: Nanos = 8;

/// Scans until `stop` is set; the thread has to be unparked then. `consume` gets the events of each
/// scan on this thread, and must not block. After too many panics the watch ends for good.
pub(crate) fn run(
    registry: Arc<Registry>,
    settings: WatchdogSettings,
    mut consume: impl FnMut(&mut Events),
    stop: &AtomicBool,
) {
    let vitals = Arc::clone(&registry.vitals);
    let life = vitals.begin(OwnThread::Watchdog);
    let mut scanner = Scanner::new(Arc::clone(&registry), settings);
    let mut jitter = Jitter(clock::now() | 1);
    let mut last = clock::now();
    let mut was_woken = false;
    while !stop.load(Ordering::Acquire) {
        let is_idle = scanner.is_idle();
        let interval = interval(settings, is_idle, &registry);
        let wait = if was_woken { jitter.up_to(interval) } else { jitter.around(interval) };
        let wake = wake_at(last, wait, scanner.open_polls.due, interval);
        let barrier = &registry.scan_barrier;
        let is_woken = || is_idle && !registry.wake_up.is_armed();
        let at_once = || stop.load(Ordering::Acquire) || barrier.is_wanted() || is_woken();
        let now = sleep_until(wake, at_once);
        let woken = is_woken();
        let sampled = match (woken, was_woken) {
            (true, _) => 0,
            (false, true) => interval,
            (false, false) => now.saturating_sub(last),
        };
        let late = now.saturating_sub(wake);
        let scan = || {
            barrier.begin();
            let events = scanner.scan(ScanStart { now, late, woken, sampled });
            consume(events);
            events.clear();
            // Last: whoever waits for a scan finds its results in the metrics.
            barrier.end(scanner.open_polls.undecided_since);
        };
        let is_done = vitals.work(OwnThread::Watchdog, scan).is_some();
        (last, was_woken) = (now, woken);
        if !is_done {
            if vitals.is_spent(OwnThread::Watchdog) {
                // What was found last must have no effect from now on.
                scanner.end_stalls();
                return registry.stop();
            }
            let pause = PAUSE << vitals.panics(OwnThread::Watchdog).saturating_sub(1);
            last = sleep_until(now + pause, || stop.load(Ordering::Acquire));
            scanner = scanner.renewed();
        }
    }
    life.end();
}

/// The scan interval: longer while the service is `idle`, and otherwise shorter if the threshold of a
/// route is below the detector's.
fn interval(settings: WatchdogSettings, idle: bool, registry: &Registry) -> Nanos {
    let shortest = registry.labels.shortest_threshold();
    let usual = usual_interval(settings.scan_interval, registry.threshold, shortest);
    if idle { usual.max(settings.idle_interval) } else { usual }
}

fn usual_interval(scan: Nanos, threshold: Nanos, shortest: Nanos) -> Nanos {
    if shortest < threshold { scan.min(shortest / 4) } else { scan }
}

/// When to scan after a scan at `last`: after `wait`, or when a poll is `due`. It is counted when it reaches
/// its threshold, not up to a scan later. That time moves on while the environment holds the poll up.
fn wake_at(last: Nanos, wait: Nanos, due: Nanos, interval: Nanos) -> Nanos {
    (last + wait).min(due.max(last + interval / MOST_EARLY))
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
        let fifth = (interval / 5).max(1);
        interval - fifth + self.next() % (2 * fifth + 1)
    }

    /// Any time up to `interval`: to a poll that wakes the watchdog the scans are then as scattered as
    /// to any other, so that its share of samples is not too small.
    fn up_to(&mut self, interval: Nanos) -> Nanos {
        self.next() % (interval + 1)
    }

    fn next(&mut self) -> u64 {
        // Marsaglia's xorshift64.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_as_set_unless_a_route_needs_a_shorter_one() {
        assert_eq!(usual_interval(100, 100, 100), 100);
        assert_eq!(usual_interval(25, 100, Nanos::MAX), 25);
        assert_eq!(usual_interval(25, 100, 20), 5);
        assert_eq!(usual_interval(2, 100, 20), 2);
    }

    #[test]
    fn a_poll_that_is_due_hurries_a_scan_so_much_and_no_more() {
        let wake = |due| wake_at(1_000, 90, due, 80);
        assert_eq!(
            [wake(Nanos::MAX), wake(1_050), wake(1_001), wake(0)],
            [1_090, 1_050, 1_010, 1_010]
        );
    }

    #[test]
    fn scans_scatter_within_a_fifth_and_keep_their_mean() {
        let mut jitter = Jitter(42);
        let intervals: Vec<_> = (0..10_000).map(|_| jitter.around(1_000_000)).collect();
        assert!(intervals.iter().all(|interval| (800_000..=1_200_000).contains(interval)));
        let mean = intervals.iter().sum::<u64>() / 10_000;
        assert!((990_000..=1_010_000).contains(&mean), "{mean}");
        let mean = (0..10_000).map(|_| jitter.up_to(1_000_000)).sum::<u64>() / 10_000;
        assert!((480_000..=520_000).contains(&mean), "{mean}");
    }
}
