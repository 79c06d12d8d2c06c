//! The heartbeat of a runtime: the tick task records it and the watchdog reads it.

use std::sync::Mutex;
use std::task::Waker;

use crate::clock::Nanos;
use crate::sync::{AtomicU32, AtomicU64, Ordering, lock, try_lock};

use Ordering::{Acquire, Relaxed, Release};

/// Lags kept for the watchdog. Between two scans there may be 0.25 s at the shortest tick interval
/// (1 ms), and 6 s at the default (25 ms).
const KEPT: usize = 256;

/// What the tick task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum TickState {
    /// Nothing: the runtime has no timers, its clock is paused, or it has ended.
    Off,
    /// It waits for a wake-up by the watchdog, to see whether the runtime's clock runs.
    Waiting,
    /// It ticks.
    Ticking,
}

/// Written by the tick task. Only the watchdog reads the lags.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    state: AtomicU32,
    due: AtomicU64,
    beat: AtomicU64,
    stamped: AtomicU64,
    lags: Box<[AtomicU64]>,
    nudge: Mutex<Option<Waker>>,
}

impl Heartbeat {
    pub(crate) fn new() -> Self {
        Self {
            state: AtomicU32::new(TickState::Off as u32),
            due: AtomicU64::new(0),
            beat: AtomicU64::new(0),
            stamped: AtomicU64::new(0),
            lags: (0..KEPT).map(|_| AtomicU64::new(0)).collect(),
            nudge: Mutex::new(None),
        }
    }

    pub(crate) fn state(&self) -> TickState {
        match self.state.load(Acquire) {
            1 => TickState::Waiting,
            2 => TickState::Ticking,
            _ => TickState::Off,
        }
    }

    /// When the next tick should wake.
    pub(crate) fn due(&self) -> Nanos {
        self.due.load(Acquire)
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

    /// Wakes a tick task that waits for it.
    pub(crate) fn nudge(&self) {
        if let Some(waker) = try_lock(&self.nudge).and_then(|mut nudge| nudge.take()) {
            waker.wake();
        }
    }

    // The tick task's side.

    pub(crate) fn set_state(&self, state: TickState) {
        self.state.store(state as u32, Release);
    }

    pub(crate) fn wait_for_nudge(&self, waker: &Waker) {
        *lock(&self.nudge) = Some(waker.clone());
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
