//! The watchdog: a thread that looks at the slots and counters and says what it sees.
//!
//! It knows no metrics, no log and no admin server: it calls an [`Observer`]. What is in a file
//! of its own in [`rules`] is pure: it is fed with plain data and the time.
//!
//! The watchdog never waits for anybody: it takes no lock that is held while code of others
//! runs, and those that a reader may hold it only tries.

#[cfg(feature = "__bench")]
mod bench;
mod environment;
mod evidence;
mod open_stall;
mod rules;
mod scan;
mod unattributed;
mod watched_runtime;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cause::CauseReport;
use crate::clock::{self, Nanos};
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;
use crate::slot::Slot;
use crate::stack::PollProof;
use crate::stall::Cause;
use crate::stall::LiveStall;
#[cfg(feature = "__bench")]
pub use bench::BenchScans;
pub(crate) use rules::health::Patience;
use scan::Scanner;

/// Hears what the watchdog sees, on the watchdog's thread: must not block.
pub(crate) trait Observer: Send {
    /// A runtime is watched from now on.
    fn runtime_appeared(&mut self, runtime: &Arc<Runtime>);
    /// A runtime ended.
    fn runtime_ended(&mut self, runtime: &Arc<Runtime>);
    /// A tick woke late, or is that late by now.
    fn lag(&mut self, runtime: &'static str, lag: Nanos);
    /// Ticks that woke, but whose lags could not be kept.
    fn lags_lost(&mut self, count: u64);
    /// The runtime was frozen for that much further time.
    fn frozen(&mut self, runtime: &'static str, cause: Cause, time: Nanos);
    /// A stall crossed its threshold, or one that was the environment's turned out to be the
    /// program's.
    fn counted(&mut self, stall: &Arc<LiveStall>, found: FoundStall);
    /// A stall holds its worker for that much further time.
    fn stalled(&mut self, stall: &Arc<LiveStall>, time: Nanos);
    /// A stall holds up that many further requests.
    fn delayed(&mut self, stall: &Arc<LiveStall>, requests: u64);
    /// A stall has lasted for the next power of two of its threshold.
    fn continues(&mut self, stall: &Arc<LiveStall>);
    /// A stall is over.
    fn ended(&mut self, stall: &Arc<LiveStall>);
    /// A handler was found in a poll; `time` is what the finding stands for.
    fn busy(&mut self, handler: &'static str, time: Nanos);
    /// A worker does not come round; wants to know whether its thread is in one poll.
    fn examine(&mut self, proof: Arc<PollProof>);
    /// It is not known which threads run the workers of that runtime.
    fn map_workers(&mut self, runtime: &Arc<Runtime>);
    /// Timers and sockets of the runtime stand still though a worker is parked; the first time for
    /// this stall, or again.
    fn rescue(&mut self, runtime: &Arc<Runtime>, first: bool);
    /// It is to be known whether the runtime still polls tasks.
    fn ask(&mut self, runtime: &Arc<Runtime>);
    /// The runtime is frozen for that long and has polled no task that was asked for; `stall` is
    /// what it blames.
    fn dead(&mut self, runtime: &Arc<Runtime>, frozen: Nanos, stall: Option<&Arc<LiveStall>>);
    /// A scan is done, and began that much later than it should.
    fn scanned(&mut self, now: Nanos, late: Nanos);
}

/// Where a closer look at a stall can start.
#[derive(Debug)]
pub(crate) struct FoundStall {
    pub(crate) cause_report: Option<CauseReport>,
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    /// The slot that the poll is open in, and its number there.
    poll: Option<(&'static Slot, u64)>,
}

impl FoundStall {
    fn in_slot(
        cause_report: Option<CauseReport>,
        thread: u32,
        slot: &'static Slot,
        sequence: u64,
    ) -> Self {
        Self { cause_report, thread, poll: Some((slot, sequence)) }
    }

    fn on_worker(cause_report: Option<CauseReport>, thread: u32) -> Self {
        Self { cause_report, thread, poll: None }
    }

    /// Whether the poll is still open, for other threads to ask.
    pub(crate) fn still(&self) -> impl Fn() -> bool + Send + 'static {
        let poll = self.poll;
        move || poll.is_none_or(|(slot, sequence)| slot.sequence() == sequence)
    }
}

/// How often to look, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    pub(crate) scan: Nanos,
    pub(crate) tick: Duration,
    pub(crate) guardian: Guardian,
}

/// What to do about freezes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Guardian {
    pub(crate) patience: Patience,
    /// Runtimes are nudged where that helps.
    pub(crate) rescues: bool,
}

/// Looks until `stop` is set; to be woken by `unpark` then.
pub(crate) fn run(
    registry: Arc<Registry>,
    pace: Pace,
    observer: Box<dyn Observer>,
    stop: &AtomicBool,
) {
    let mut scanner = Scanner::new(Arc::clone(&registry), pace.tick, pace.guardian, observer);
    let mut jitter = Jitter(clock::now() | 1);
    let mut last = clock::now();
    while !stop.load(Ordering::Acquire) {
        let mut wake = last
            + jitter.around(interval(pace.scan, registry.threshold, scanner.shortest_threshold()));
        if let Some(due) = scanner.next_due() {
            wake = wake.min(due);
        }
        let now =
            sleep_until(wake, || stop.load(Ordering::Acquire) || registry.scan_barrier.is_wanted());
        registry.scan_barrier.begin();
        scanner.scan(now, now.saturating_sub(wake));
        registry.scan_barrier.end(scanner.undecided);
        last = now;
    }
    scanner.finish();
}

/// Routes with a shorter threshold than the detector's are looked at more often than was set.
fn interval(scan: Nanos, threshold: Nanos, shortest: Nanos) -> Nanos {
    if shortest < threshold { scan.min(shortest / 4) } else { scan }
}

/// Returns the time it woke.
fn sleep_until(wake: Nanos, at_once: impl Fn() -> bool) -> Nanos {
    loop {
        let now = clock::now();
        if now >= wake || at_once() {
            return now;
        }
        std::thread::park_timeout(Duration::from_nanos(wake - now));
    }
}

/// Scatters scans, so that they do not march in step with what they sample.
struct Jitter(u64);

impl Jitter {
    /// `interval`, give or take a fifth.
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
    fn scans_are_as_set_unless_a_route_wants_more() {
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
