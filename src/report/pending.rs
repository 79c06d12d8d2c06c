//! Stalls that were counted and not told yet, since their stack is on its way.

use std::sync::Arc;

use super::event::Event;
use crate::clock::{self, Nanos};
use crate::stall::LiveStall;

/// How long the first line of a stall waits for its stack.
const WAIT: Nanos = 250_000_000;

#[derive(Debug, Default)]
pub(super) struct PendingStalls(Vec<PendingStall>);

/// A stall that has not been told.
#[derive(Debug)]
pub(super) struct PendingStall {
    pub(super) stall: Arc<LiveStall>,
    due: Nanos,
    /// Whether the capture thread has answered.
    pub(super) answered: bool,
    /// What happened to it meanwhile.
    pub(super) then: Vec<Event>,
}

impl PendingStalls {
    pub(super) fn wait_for(&mut self, stall: Arc<LiveStall>) {
        let due = clock::now() + WAIT;
        self.0.push(PendingStall { stall, due, answered: false, then: Vec::new() });
    }

    /// When the next of them has been waited for long enough.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.0.iter().map(|waiting| waiting.due).min()
    }

    /// That stall, if its stack is waited for.
    pub(super) fn waiting(&mut self, stall: &LiveStall) -> Option<&mut PendingStall> {
        self.0.iter_mut().find(|waiting| waiting.stall.id() == stall.id())
    }

    /// Waits for it no longer.
    pub(super) fn take(&mut self, stall: &LiveStall) -> Option<PendingStall> {
        let at = self.0.iter().position(|waiting| waiting.stall.id() == stall.id())?;
        Some(self.0.remove(at))
    }

    /// Those that have been waited for long enough, the oldest first.
    pub(super) fn overdue(&mut self, now: Nanos) -> Vec<PendingStall> {
        let waiting = std::mem::take(&mut self.0);
        let (late, waiting) = waiting.into_iter().partition(|waiting| waiting.due <= now);
        self.0 = waiting;
        late
    }

    /// All of them: nothing comes any more.
    pub(super) fn give_up(&mut self) -> Vec<PendingStall> {
        std::mem::take(&mut self.0)
    }
}
