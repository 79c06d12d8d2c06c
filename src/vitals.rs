//! How our own threads do: whether each of them works, is stuck or is lost.
//!
//! A panic of ours ends one piece of work: its thread goes on with the next. After [`MOST_PANICS`] of
//! them the thread ends and is lost, as what it works on is then likely to make it panic again.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::clock::{self, Nanos};
use crate::sync::{AtomicU64, Ordering};

use Ordering::Relaxed;

/// How often a thread panics before it is lost.
pub(crate) const MOST_PANICS: u64 = 5;
/// A thread that takes longer for one piece of work is stuck. Names under a small CPU quota take seconds.
pub(crate) const STUCK_AFTER: Nanos = 10_000_000_000;

/// Values of [`Vital::due`] that are no times.
const ABSENT: Nanos = 0;
const WAITS: Nanos = Nanos::MAX - 1;
const LOST: Nanos = Nanos::MAX;

/// A thread of the detector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnThread {
    Watchdog,
    Reporter,
    Capture,
    Symbols,
    Admin,
}

impl OwnThread {
    pub(crate) const ALL: [Self; 5] =
        [Self::Watchdog, Self::Reporter, Self::Capture, Self::Symbols, Self::Admin];

    /// Its name in the system.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Watchdog => "stall-watchdog",
            Self::Reporter => "stall-reporter",
            Self::Capture => "stall-capture",
            Self::Symbols => "stall-symbols",
            Self::Admin => "stall-admin",
        }
    }
}

/// How a thread does at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Works,
    /// It has been at one piece of work for that long.
    Stuck(Nanos),
    /// It ended of itself.
    Lost,
}

/// A thread that is there, or should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ThreadReport {
    pub(crate) thread: OwnThread,
    pub(crate) condition: Condition,
    pub(crate) panics: u64,
}

impl ThreadReport {
    /// Whether it is not as it should be.
    pub(crate) fn is_fault(&self) -> bool {
        self.condition != Condition::Works || self.panics > 0
    }
}

/// All threads of one detector. Each writes its own part; anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    threads: [Vital; OwnThread::ALL.len()],
}

#[derive(Debug, Default)]
struct Vital {
    /// When to be done with the work in hand, or one of the constants above.
    due: AtomicU64,
    panics: AtomicU64,
    #[cfg(test)]
    fault: crate::sync::AtomicBool,
}

impl Vitals {
    /// To be held by the thread for as long as it runs.
    pub(crate) fn begin(&self, thread: OwnThread) -> Life<'_> {
        self.of(thread).due.store(WAITS, Relaxed);
        Life { vital: self.of(thread) }
    }

    /// Runs one piece of work of the thread. `None` if it panicked.
    pub(crate) fn work<T>(&self, thread: OwnThread, work: impl FnOnce() -> T) -> Option<T> {
        let vital = self.of(thread);
        vital.due.store(clock::now() + STUCK_AFTER, Relaxed);
        let done = catch_unwind(AssertUnwindSafe(|| {
            #[cfg(test)]
            assert!(!vital.fault.swap(false, Relaxed), "the test asked for it");
            work()
        }));
        vital.due.store(WAITS, Relaxed);
        done.inspect_err(|_| self.count_panic(thread)).ok()
    }

    /// The thread gives its next sign of life until then.
    #[cfg(feature = "admin")]
    pub(crate) fn expect_by(&self, thread: OwnThread, due: Nanos) {
        self.of(thread).due.store(due + STUCK_AFTER, Relaxed);
    }

    pub(crate) fn count_panic(&self, thread: OwnThread) {
        self.of(thread).panics.fetch_add(1, Relaxed);
    }

    pub(crate) fn panics(&self, thread: OwnThread) -> u64 {
        self.of(thread).panics.load(Relaxed)
    }

    /// Those of all threads.
    pub(crate) fn all_panics(&self) -> u64 {
        OwnThread::ALL.into_iter().map(|thread| self.panics(thread)).sum()
    }

    /// Whether the thread has panicked too often to go on.
    pub(crate) fn is_spent(&self, thread: OwnThread) -> bool {
        self.panics(thread) >= MOST_PANICS
    }

    /// Whether the thread works, or is not there to work.
    pub(crate) fn is_well(&self, thread: OwnThread, now: Nanos) -> bool {
        self.report(thread, now).is_none_or(|report| report.condition == Condition::Works)
    }

    /// All threads that are there, or were lost.
    pub(crate) fn reports(&self, now: Nanos) -> impl Iterator<Item = ThreadReport> {
        OwnThread::ALL.into_iter().filter_map(move |thread| self.report(thread, now))
    }

    fn report(&self, thread: OwnThread, now: Nanos) -> Option<ThreadReport> {
        let condition = match self.of(thread).due.load(Relaxed) {
            ABSENT => return None,
            LOST => Condition::Lost,
            due if now > due => Condition::Stuck(now - due + STUCK_AFTER),
            _ => Condition::Works,
        };
        Some(ThreadReport { thread, condition, panics: self.panics(thread) })
    }

    fn of(&self, thread: OwnThread) -> &Vital {
        &self.threads[thread as usize]
    }

    /// The next piece of work of the thread panics.
    #[cfg(test)]
    pub(crate) fn fail_next(&self, thread: OwnThread) {
        self.of(thread).fault.store(true, Relaxed);
    }
}

/// A thread that runs. When this is dropped it is lost, unless it was [told to end](Self::end).
#[derive(Debug)]
pub(crate) struct Life<'a> {
    vital: &'a Vital,
}

impl Life<'_> {
    /// The thread was told to end.
    pub(crate) fn end(self) {
        self.vital.due.store(ABSENT, Relaxed);
        std::mem::forget(self);
    }
}

impl Drop for Life<'_> {
    fn drop(&mut self) {
        self.vital.due.store(LOST, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: OwnThread = OwnThread::Reporter;

    fn condition(vitals: &Vitals, now: Nanos) -> Option<Condition> {
        let mut reports = vitals.reports(now);
        let report = reports.next()?;
        assert_eq!((report.thread, reports.next()), (THREAD, None));
        Some(report.condition)
    }

    #[test]
    fn a_thread_is_absent_before_its_begin_and_after_its_end() {
        let vitals = Vitals::default();
        assert_eq!(condition(&vitals, 1), None);
        let life = vitals.begin(THREAD);
        assert_eq!(condition(&vitals, clock::LONGEST), Some(Condition::Works));
        life.end();
        assert_eq!(condition(&vitals, 1), None);
        assert!(vitals.is_well(THREAD, 1));
    }

    #[test]
    fn work_that_takes_too_long_is_stuck_until_it_is_done() {
        let vitals = Vitals::default();
        let _life = vitals.begin(THREAD);
        let now = clock::now();
        vitals.work(THREAD, || {
            assert_eq!(condition(&vitals, now), Some(Condition::Works));
            let late = now + 2 * STUCK_AFTER;
            let Some(Condition::Stuck(time)) = condition(&vitals, late) else {
                panic!("it is stuck");
            };
            assert!(time > STUCK_AFTER && time <= 2 * STUCK_AFTER, "{time}");
            assert!(!vitals.is_well(THREAD, late));
        });
        assert_eq!(condition(&vitals, clock::LONGEST), Some(Condition::Works));
    }

    #[test]
    fn a_panic_ends_a_piece_of_work_and_enough_of_them_the_thread() {
        let vitals = Vitals::default();
        let life = vitals.begin(THREAD);
        for panics in 1..=MOST_PANICS {
            assert!(!vitals.is_spent(THREAD));
            vitals.fail_next(THREAD);
            assert_eq!(vitals.work(THREAD, || ()), None);
            assert_eq!(vitals.panics(THREAD), panics);
            assert_eq!(condition(&vitals, clock::LONGEST), Some(Condition::Works));
            assert_eq!(vitals.work(THREAD, || 7), Some(7));
        }
        assert!(vitals.is_spent(THREAD));
        drop(life);
        assert_eq!(condition(&vitals, 1), Some(Condition::Lost));
    }
}
