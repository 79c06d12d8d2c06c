//! The heartbeat of a runtime: the tick task records it and the watchdog reads it.

use std::task::Waker;

use crate::clock::Nanos;
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering, lock, try_lock};

use Ordering::{Acquire, Relaxed, Release};

/// Lags kept for the watchdog. Between two scans there may be 0.25 s at the shortest tick interval
/// (1 ms), and 6 s at the default (25 ms).
const KEPT: usize = 256;

/// Written by the tick task, except for `interval` and `asked`, and for `due` where the watchdog asks for
/// each tick. Only the watchdog reads the lags.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// `false` before the runtime's clock was seen to run, and after the end.
    ticking: AtomicBool,
    /// Whether ticks come by the runtime's timers. Else the watchdog asks for each.
    by_timer: AtomicBool,
    due: AtomicU64,
    /// The time between two ticks: longer while the service is idle.
    interval: AtomicU64,
    /// When the watchdog asked for a tick at once; 0 once there was one.
    asked: AtomicU64,
    beat: AtomicU64,
    stamped: AtomicU64,
    lags: Box<[AtomicU64]>,
    waiting: Mutex<Option<Waker>>,
}

impl Heartbeat {
    pub(crate) fn new() -> Self {
        Self {
            ticking: AtomicBool::new(false),
            by_timer: AtomicBool::new(false),
            due: AtomicU64::new(0),
            interval: AtomicU64::new(0),
            asked: AtomicU64::new(0),
            beat: AtomicU64::new(0),
            stamped: AtomicU64::new(0),
            lags: (0..KEPT).map(|_| AtomicU64::new(0)).collect(),
            waiting: Mutex::new(None),
        }
    }

    pub(crate) fn is_ticking(&self) -> bool {
        self.ticking.load(Acquire)
    }

    /// When the next tick should wake.
    pub(crate) fn due(&self) -> Nanos {
        // In this order: a tick takes the question before it says when the next one is due.
        let asked = self.asked();
        let due = self.due.load(Acquire);
        asked.map_or(due, |asked| due.min(asked))
    }

    /// When the watchdog asked for the tick that has not come yet.
    pub(crate) fn asked(&self) -> Option<Nanos> {
        Some(self.asked.load(Acquire)).filter(|asked| *asked > 0)
    }

    /// Sets the time between two ticks, from the next one on.
    pub(crate) fn set_interval(&self, interval: Nanos) {
        self.interval.store(interval, Release);
    }

    /// Sets a shorter time between two ticks, and asks for a tick at `now`.
    pub(crate) fn hurry(&self, now: Nanos, interval: Nanos) {
        self.set_interval(interval);
        self.asked.store(now, Release);
        self.wake();
    }

    /// Asks for a tick now, if none is asked for.
    pub(crate) fn ask(&self, now: Nanos) {
        if self.is_ticking() && self.asked().is_none() {
            self.asked.store(now, Release);
        }
        self.wake();
    }

    /// Asks for the next tick if it is time and the timers of the runtime do not bring it.
    pub(crate) fn ask_if_due(&self, now: Nanos) {
        if self.is_ticking() && !self.is_by_timer() && self.asked().is_none() && now >= self.due() {
            // It could not come before.
            self.expect(now);
            self.asked.store(now, Release);
        }
    }

    pub(crate) fn is_by_timer(&self) -> bool {
        self.by_timer.load(Acquire)
    }

    pub(crate) fn set_by_timer(&self, by_timer: bool) {
        self.by_timer.store(by_timer, Release);
    }

    /// When the last tick woke or ping was answered; 0 before the first.
    pub(crate) fn beat(&self) -> Nanos {
        self.beat.load(Acquire)
    }

    /// Calls `each` with the lags recorded since `seen`, and moves `seen` on. Returns how many were
    /// overwritten before they could be read.
    pub(crate) fn lags(&self, seen: &mut u64, mut each: impl FnMut(Nanos)) -> u64 {
        let stamped = self.stamped.load(Acquire);
        let lost = (stamped - *seen).saturating_sub(KEPT as u64);
        for number in *seen + lost..stamped {
            each(self.lags[number as usize % KEPT].load(Relaxed));
        }
        *seen = stamped;
        lost
    }

    /// Wakes a tick task that [waits](Self::wait). Does nothing while it begins to wait: to be called
    /// again.
    pub(crate) fn wake(&self) {
        if let Some(waker) = try_lock(&self.waiting).and_then(|mut waiting| waiting.take()) {
            waker.wake();
        }
    }

    // The tick task's side.

    pub(crate) fn set_ticking(&self, ticking: bool) {
        self.ticking.store(ticking, Release);
    }

    pub(crate) fn wait(&self, waker: &Waker) {
        *lock(&self.waiting) = Some(waker.clone());
    }

    /// Forgets the tick task, of which the waker keeps the memory.
    pub(crate) fn forget(&self) {
        drop(lock(&self.waiting).take());
    }

    pub(crate) fn interval(&self) -> Nanos {
        self.interval.load(Acquire)
    }

    /// Takes the question for a tick at once.
    pub(crate) fn take_asked(&self) {
        self.asked.swap(0, Ordering::AcqRel);
    }

    pub(crate) fn expect(&self, due: Nanos) {
        self.due.store(due, Release);
    }

    pub(crate) fn stamp(&self, due: Nanos, now: Nanos) {
        let stamped = self.stamped.load(Relaxed);
        self.lags[stamped as usize % KEPT].store(now.saturating_sub(due), Relaxed);
        self.stamped.store(stamped + 1, Release);
        self.touch(now);
    }

    /// A task of ours runs, whether ticks do or not.
    pub(crate) fn touch(&self, now: Nanos) {
        self.beat.fetch_max(now, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lag_is_read_once_and_lost_ones_are_counted() {
        let heartbeat = Heartbeat::new();
        let (mut seen, mut read) = (0, Vec::new());
        heartbeat.stamp(100, 103);
        heartbeat.stamp(200, 200);
        assert_eq!(heartbeat.lags(&mut seen, |lag| read.push(lag)), 0);
        assert_eq!(heartbeat.lags(&mut seen, |lag| read.push(lag)), 0);
        assert_eq!(read, [3, 0]);
        for number in 0..KEPT as u64 + 5 {
            heartbeat.stamp(0, number);
        }
        read.clear();
        assert_eq!(heartbeat.lags(&mut seen, |lag| read.push(lag)), 5);
        assert_eq!((read.len(), read[0]), (KEPT, 5));
    }
}
