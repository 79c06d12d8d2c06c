//! Stalls that were counted and are not reported yet, because their stack is on its way.

use std::sync::Arc;

use super::event::Event;
use crate::clock::{self, Nanos};
use crate::stall::LiveStall;

/// How long the first line of a stall waits for its stack.
const WAIT: Nanos = 250_000_000;

#[derive(Debug, Default)]
pub(super) struct PendingStalls(Vec<PendingStall>);

#[derive(Debug)]
pub(super) struct PendingStall {
    pub(super) stall: Arc<LiveStall>,
    due: Nanos,
    /// Whether the sampler has answered.
    pub(super) answered: bool,
    /// What to report after it.
    pub(super) then: Vec<Event>,
}

impl PendingStalls {
    pub(super) fn add(&mut self, stall: Arc<LiveStall>) {
        let due = clock::now() + WAIT;
        self.0.push(PendingStall { stall, due, answered: false, then: Vec::new() });
    }

    /// When the first of them is overdue.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.0.iter().map(|pending| pending.due).min()
    }

    pub(super) fn get_mut(&mut self, stall: &LiveStall) -> Option<&mut PendingStall> {
        self.0.iter_mut().find(|pending| pending.stall.id() == stall.id())
    }

    pub(super) fn take(&mut self, stall: &LiveStall) -> Option<PendingStall> {
        self.0.extract_if(.., |pending| pending.stall.id() == stall.id()).next()
    }

    /// Takes those that are due by `now`, the oldest first.
    pub(super) fn take_overdue(&mut self, now: Nanos) -> Vec<PendingStall> {
        self.0.extract_if(.., |pending| pending.due <= now).collect()
    }
}
