//! What blocks, until it was seen.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tower_stall::{Cause, Stall, StallDetector};

use crate::support::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Sleep,
    Cpu,
    Lock,
}

/// Whether a stall is going on that is not one of those up to `before`, and its stack was taken,
/// or could not be.
fn is_seen(stall: &StallDetector, before: u64) -> bool {
    let looked_at = |stall: &Stall| !stall.is_stack_pending();
    let is_it = |stall: &Stall| stall.id > before && stall.in_progress && is_own(stall);
    stall.stalls().iter().any(|stall| is_it(stall) && looked_at(stall))
}

#[inline(never)]
fn sleeps(end: &AtomicBool) {
    while !end.load(Ordering::Acquire) {
        // What has no mark is proven by one call that lasts.
        std::thread::sleep(Duration::from_millis(700));
    }
}

#[inline(never)]
fn computes(end: &AtomicBool) {
    while !end.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
}

#[inline(never)]
fn waits(lock: &Mutex<()>) {
    drop(lock.lock());
}

impl Fault {
    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::Sleep => Cause::Sleep,
            Self::Cpu => Cause::Cpu,
            Self::Lock => Cause::Lock,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sleep => "sleep",
            Self::Cpu => "cpu",
            Self::Lock => "lock",
        }
    }

    pub(crate) fn site(self) -> &'static str {
        match self {
            Self::Sleep => "watch::matrix::faults::sleeps",
            Self::Cpu => "watch::matrix::faults::computes",
            Self::Lock => "watch::matrix::faults::waits",
        }
    }

    /// What blocks, and what waits until there is a stall after `before` and lets it go.
    pub(crate) fn block(
        self,
        stall: &StallDetector,
        before: u64,
    ) -> (impl FnOnce() + Send + 'static, impl FnOnce()) {
        let end = Arc::new(AtomicBool::new(false));
        let lock = Arc::new(Mutex::new(()));
        let (ended, locked) = (Arc::clone(&end), Arc::clone(&lock));
        let (held, is_held) = std::sync::mpsc::channel();
        let block = move || {
            is_held.recv().expect("the test holds the lock");
            match self {
                Self::Sleep => sleeps(&ended),
                Self::Cpu => computes(&ended),
                Self::Lock => waits(&locked),
            }
        };
        let release = move || {
            let guard = lock.lock().expect("no panic");
            held.send(()).expect("it waits");
            let start = Instant::now();
            while !is_seen(stall, before) && start.elapsed() < LIMIT {
                std::thread::sleep(Duration::from_millis(5));
            }
            drop(guard);
            end.store(true, Ordering::Release);
        };
        (block, release)
    }
}
