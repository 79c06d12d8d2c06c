//! A poll that was over before its stacks had their names.

use std::sync::Arc;

use super::asked::{Answer, answer, returns_to_the_same};
use crate::clock::Nanos;
use crate::stack::PollProof;
use crate::stall::StackResult;
use crate::watchdog::rules::poll::{Holds, PollEvent, PollSample, PollTracker};

/// The last scan at which it was one poll, if its stacks show that they were in one.
#[derive(Clone, Copy, Debug)]
pub(super) struct LastSeen {
    pub(super) at: Nanos,
    /// The environment's share of its time until then.
    pub(super) excused: Nanos,
    /// Since when returns were counted, if that shows it; otherwise it was in the same wait.
    pub(super) counted_since: Option<Nanos>,
}

/// The stacks of what was one poll if they show that.
#[derive(Debug)]
pub(super) enum Stacks {
    /// One: it was in the same wait before and after that, or has not returned since.
    One(Arc<PollProof>),
    /// Two: it has not returned in between.
    Two(Arc<PollProof>, Arc<PollProof>),
}

/// What was one poll, if its stacks show that.
#[derive(Debug)]
pub(super) struct Unnamed {
    pub(super) since: Nanos,
    pub(super) seen: LastSeen,
    pub(super) threshold: Nanos,
    pub(super) stacks: Stacks,
}

/// A stall that was proven after its end.
#[derive(Debug)]
pub(crate) struct EndedStall {
    pub(crate) since: Nanos,
    pub(crate) lasted: Nanos,
    /// Whether it counts, or was the environment's.
    pub(crate) event: PollEvent,
    pub(crate) thread: u32,
    /// The stack that proved it.
    pub(crate) stack: StackResult,
}

impl Unnamed {
    /// Whether it was a stall, once that is known: `None` until then.
    pub(super) fn decide(&self, now: Nanos) -> Option<Option<EndedStall>> {
        let (first, last) = match &self.stacks {
            Stacks::One(only) => (only, only),
            Stacks::Two(first, second) => (first, second),
        };
        let counted = self.seen.counted_since;
        match (answer(first, now), answer(last, now)) {
            (Answer::No, _) | (_, Answer::No) => Some(None),
            (Answer::Awaited, _) | (_, Answer::Awaited) => None,
            (Answer::InPoll(_), Answer::InPoll(found)) => {
                // Another place may have been counted than where the poll returns to.
                let is_one = counted.is_none_or(|since| first.counts_since() == Some(since))
                    && returns_to_the_same(first, found);
                Some(is_one.then(|| self.stall(last, found.taken.clone())).flatten())
            }
        }
    }

    fn stall(&self, last: &PollProof, stack: StackResult) -> Option<EndedStall> {
        let Self { since, seen: LastSeen { at, excused, .. }, threshold, .. } = *self;
        let mut tracker = PollTracker::default();
        let sample = |excused| PollSample {
            sequence: 1,
            threshold,
            holds: Holds::Root,
            excused,
            not_before: 0,
        };
        tracker.observe(since, sample(0));
        let event = tracker.observe(at, sample(excused));
        let is_stall = matches!(event, PollEvent::Counted(_) | PollEvent::Excused(_));
        let (lasted, thread) = (at - since, last.thread);
        is_stall.then_some(EndedStall { since, lasted, event, thread, stack })
    }
}
