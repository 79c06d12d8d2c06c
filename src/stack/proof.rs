//! The proof that a thread whose worker makes no progress is in one poll.
//!
//! The watchdog asks, other threads take the stack and read it, and the watchdog finds the answer in
//! a later scan.

use std::fmt;
use std::sync::OnceLock;

use crate::clock::Nanos;
use crate::stall::StackResult;

/// A question and its answer.
#[derive(Debug)]
pub(crate) struct PollProof {
    /// The thread id.
    pub(crate) thread: u32,
    /// Whether its runtime is a current-thread runtime.
    pub(crate) single: bool,
    asked_at: Nanos,
    answer: OnceLock<Option<ProvenPoll>>,
}

/// The thread is in a poll, as a worker.
#[derive(Debug)]
pub(crate) struct ProvenPoll {
    /// Its stack.
    pub(crate) taken: StackResult,
    /// The address that the poll returns to.
    pub(crate) returns_to: u64,
    /// Counts the polls that have returned since, if the system allows it.
    pub(crate) returns: Option<ReturnCount>,
    /// The time at which the stack had been taken and `returns` counted.
    pub(crate) since: Nanos,
}

/// How many polls have returned since the counting began; `None` if the kernel could not count all
/// the time.
pub(crate) struct ReturnCount(Box<dyn Fn() -> Option<u64> + Send + Sync>);

impl PollProof {
    pub(crate) fn new(thread: u32, single: bool, now: Nanos) -> Self {
        Self { thread, single, asked_at: now, answer: OnceLock::new() }
    }

    /// The thread is in a poll, and `returns` has counted since `now`.
    pub(crate) fn held(
        &self,
        now: Nanos,
        taken: StackResult,
        returns_to: u64,
        returns: Option<ReturnCount>,
    ) {
        // The first answer counts.
        drop(self.answer.set(Some(ProvenPoll { taken, returns_to, returns, since: now })));
    }

    /// The thread is in no poll, or the stack does not show it.
    pub(crate) fn not_held(&self) {
        drop(self.answer.set(None));
    }

    /// Whether an answer may still come.
    pub(crate) fn is_open(&self, now: Nanos, patience: Nanos) -> bool {
        self.answer.get().is_none() && now.saturating_sub(self.asked_at) < patience
    }

    /// The answer, once it is there.
    pub(crate) fn answer(&self) -> Option<Option<&ProvenPoll>> {
        self.answer.get().map(Option::as_ref)
    }
}

impl ProvenPoll {
    /// Whether no poll has returned since then; `false` if that is not counted.
    pub(crate) fn still(&self) -> bool {
        self.returns.as_ref().is_some_and(|returns| (returns.0)() == Some(0))
    }
}

impl ReturnCount {
    pub(crate) fn new(so_far: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Box::new(so_far))
    }
}

impl fmt::Debug for ReturnCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReturnCount").field(&(self.0)()).finish()
    }
}
