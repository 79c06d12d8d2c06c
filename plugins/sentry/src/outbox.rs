//! What waits between the detector's thread and the one that sends.
//!
//! Both hold the lock for moments, never while an event is made or sent.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tower_stall::Stall;

/// Stalls that wait to be sent.
const MOST_WAITING: usize = 64;
/// Stalls in progress that are known.
const MOST_OPEN: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<Open>,
    waiting: VecDeque<Stall>,
    is_closed: bool,
    /// The thread has sent all and is at its end.
    is_done: bool,
}

#[derive(Debug)]
struct Open {
    stall: Stall,
    /// When it is sent though it has not ended; `None` once it was.
    due: Option<Instant>,
}

impl Outbox {
    /// A stall has begun; it is sent at that time unless it ends before.
    pub(crate) fn begin(&self, stall: &Stall, due: Instant) {
        let mut state = self.state();
        // One that was the environment's at first begins twice.
        state.open.retain(|open| open.stall.id != stall.id);
        if state.open.len() < MOST_OPEN {
            state.open.push(Open { stall: stall.clone(), due: Some(due) });
            self.changed.notify_all();
        }
    }

    /// A stall has ended. Returns `false` if there is no room for it.
    pub(crate) fn end(&self, stall: &Stall) -> bool {
        let mut state = self.state();
        let at = state.open.iter().position(|open| open.stall.id == stall.id);
        let was_sent = at.is_some_and(|at| state.open.swap_remove(at).due.is_none());
        if was_sent {
            return true;
        }
        if state.waiting.len() == MOST_WAITING {
            return false;
        }
        state.waiting.push_back(stall.clone());
        self.changed.notify_all();
        true
    }

    /// Waits for the next stall to be sent; `None` once the outbox is closed and empty.
    pub(crate) fn next(&self) -> Option<Stall> {
        let mut state = self.state();
        loop {
            if let Some(stall) = state.waiting.pop_front() {
                return Some(stall);
            }
            let now = Instant::now();
            if let Some(stall) = state.take_due(now) {
                return Some(stall);
            }
            if state.is_closed {
                return None;
            }
            state = match state.open.iter().filter_map(|open| open.due).min() {
                Some(due) => {
                    let waited =
                        self.changed.wait_timeout(state, due.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Lets the thread end once it has sent what waits, and waits for that.
    pub(crate) fn close(&self, limit: Duration) {
        let mut state = self.state();
        state.is_closed = true;
        self.changed.notify_all();
        drop(self.changed.wait_timeout_while(state, limit, |state| !state.is_done));
    }

    /// The thread is at its end.
    pub(crate) fn set_done(&self) {
        self.state().is_done = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_due(&mut self, now: Instant) -> Option<Stall> {
        let open = self.open.iter_mut().find(|open| open.due.is_some_and(|due| due <= now))?;
        open.due = None;
        let mut stall = open.stall.clone();
        // The record is that of its begin.
        stall.duration = stall.started_at.elapsed().unwrap_or_default().max(stall.duration);
        Some(stall)
    }
}
