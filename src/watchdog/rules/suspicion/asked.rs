//! The stacks that were asked for, and what they show.

use std::sync::Arc;

use super::input::StillWorker;
use crate::clock::Nanos;
use crate::stack::{PollProof, ProvenPoll};

/// How long to wait for a stack. The symbols of the first one take seconds if there is much debug
/// information.
pub(super) const PATIENCE: Nanos = 30_000_000_000;

/// What a requested stack shows so far.
pub(super) enum Answer<'a> {
    Awaited,
    /// The thread is in no poll, or there was no usable stack in time.
    No,
    InPoll(&'a ProvenPoll),
}

/// A proven poll.
#[derive(Debug)]
pub(super) struct OnePoll {
    /// The stack that proved it.
    pub(super) stack: Arc<PollProof>,
    /// Counts returns. `None` if that is not possible: then the same wait is the proof.
    pub(super) counter: Option<Arc<PollProof>>,
}

impl OnePoll {
    /// Whether the counter proves that it goes on.
    pub(super) fn has_not_returned(&self) -> bool {
        let last = found(&self.stack);
        self.counter.as_deref().is_some_and(|counter| {
            counter.still() && last.is_some_and(|last| returns_to_the_same(counter, last))
        })
    }
}

pub(super) fn answer(proof: &PollProof, now: Nanos) -> Answer<'_> {
    // Checked first, so that an answer that arrives in between still counts.
    let is_late = !proof.is_open(now, PATIENCE);
    match proof.answer() {
        Some(Some(found)) => Answer::InPoll(found),
        None if !is_late => Answer::Awaited,
        Some(None) | None => Answer::No,
    }
}

pub(super) fn found(proof: &PollProof) -> Option<&ProvenPoll> {
    proof.answer().flatten()
}

pub(super) fn returns_to_the_same(first: &PollProof, last: &ProvenPoll) -> bool {
    found(first).is_some_and(|first| first.returns_to == last.returns_to)
}

/// The first stack of what may be one poll. Its returns are counted from then on.
pub(super) fn request(worker: StillWorker) -> Arc<PollProof> {
    Arc::new(PollProof::counting(worker.thread, worker.single, worker.now))
}

pub(super) fn request_second(worker: StillWorker) -> Arc<PollProof> {
    Arc::new(PollProof::new(worker.thread, worker.single, worker.now))
}
