//! The proof that a thread whose worker makes no progress is in one poll.
//!
//! The watchdog asks, other threads take the stack and read it, and the watchdog finds the answer in
//! a later scan. The names of a stack may take long. So the returns of the poll are counted from the
//! moment that the stack was taken, if it shows then where it returns to.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::clock::Nanos;
use crate::stall::StackResult;

/// A question and its answer.
#[derive(Debug)]
pub(crate) struct PollProof {
    /// The thread id.
    pub(crate) thread: u32,
    /// Whether its runtime is a current-thread runtime.
    pub(crate) single: bool,
    /// Whether the returns of the poll are to be counted.
    pub(super) counts: bool,
    asked_at: Nanos,
    sampled: OnceLock<SampledPoll>,
    answer: OnceLock<Answer>,
}

#[derive(Debug)]
enum Answer {
    /// The thread is in a poll.
    Held(Box<ProvenPoll>),
    /// Its stack shows that it is not.
    NotHeld,
    /// Its stack could not be taken, or a part is missing.
    NotShown,
}

/// A stack that was taken, and has no names yet.
#[derive(Debug)]
struct SampledPoll {
    /// When it had been taken and the returns counted.
    since: Nanos,
    /// Where the poll seems to return to, and the count of that.
    returns: Option<(u64, ReturnCount)>,
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
#[derive(Clone)]
pub(crate) struct ReturnCount(Arc<dyn Fn() -> Option<u64> + Send + Sync>);

impl PollProof {
    pub(crate) fn new(thread: u32, single: bool, now: Nanos) -> Self {
        let (sampled, answer) = (OnceLock::new(), OnceLock::new());
        Self { thread, single, counts: false, asked_at: now, sampled, answer }
    }

    /// The same, and counts the returns of the poll from then on.
    pub(crate) fn counting(thread: u32, single: bool, now: Nanos) -> Self {
        Self { counts: true, ..Self::new(thread, single, now) }
    }

    /// The stack was taken, and `returns` has counted since `now`.
    pub(crate) fn sampled(&self, now: Nanos, returns: Option<(u64, ReturnCount)>) {
        drop(self.sampled.set(SampledPoll { since: now, returns }));
    }

    /// Whether the stack was taken.
    pub(crate) fn is_sampled(&self) -> bool {
        self.sampled.get().is_some()
    }

    /// The count of the returns to that address since the stack was taken, and when that was.
    pub(crate) fn counted(&self, returns_to: u64) -> Option<(Nanos, ReturnCount)> {
        let SampledPoll { since, returns } = self.sampled.get()?;
        let (_, count) = returns.as_ref().filter(|(address, _)| *address == returns_to)?;
        Some((*since, count.clone()))
    }

    /// Since when returns are counted, if they are: to where the poll returns or, until the stack has its
    /// names, seems to.
    pub(crate) fn counts_since(&self) -> Option<Nanos> {
        match self.answer.get() {
            Some(answer) => {
                answer.poll().and_then(|poll| poll.returns.as_ref().map(|_| poll.since))
            }
            None => self.sampled.get().filter(|poll| poll.returns.is_some()).map(|poll| poll.since),
        }
    }

    /// Whether no poll has returned since then; `false` if that is not counted.
    pub(crate) fn still(&self) -> bool {
        match self.answer.get() {
            Some(answer) => answer.poll().is_some_and(ProvenPoll::still),
            None => self
                .sampled
                .get()
                .and_then(|poll| poll.returns.as_ref())
                .is_some_and(|(_, returns)| returns.is_zero()),
        }
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
        let poll = ProvenPoll { taken, returns_to, returns, since: now };
        drop(self.answer.set(Answer::Held(Box::new(poll))));
    }

    /// The thread is in no poll, or has given its worker away.
    pub(crate) fn not_held(&self) {
        drop(self.answer.set(Answer::NotHeld));
    }

    /// There is no stack that shows whether the thread is in a poll.
    pub(crate) fn not_shown(&self) {
        drop(self.answer.set(Answer::NotShown));
    }

    /// Whether the stack could not be taken.
    pub(crate) fn has_failed(&self) -> bool {
        !self.is_sampled() && matches!(self.answer(), Some(None))
    }

    /// Whether another stack might show more.
    pub(crate) fn is_not_shown(&self) -> bool {
        matches!(self.answer.get(), None | Some(Answer::NotShown))
    }

    /// Whether an answer may still come.
    pub(crate) fn is_open(&self, now: Nanos, patience: Nanos) -> bool {
        self.answer.get().is_none() && now.saturating_sub(self.asked_at) < patience
    }

    /// The answer, once it is there.
    pub(crate) fn answer(&self) -> Option<Option<&ProvenPoll>> {
        self.answer.get().map(Answer::poll)
    }
}

impl Answer {
    fn poll(&self) -> Option<&ProvenPoll> {
        match self {
            Self::Held(poll) => Some(poll),
            Self::NotHeld | Self::NotShown => None,
        }
    }
}

impl ProvenPoll {
    /// Whether no poll has returned since then; `false` if that is not counted.
    pub(crate) fn still(&self) -> bool {
        self.returns.as_ref().is_some_and(ReturnCount::is_zero)
    }
}

impl ReturnCount {
    pub(crate) fn new(so_far: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self(Arc::new(so_far))
    }

    fn is_zero(&self) -> bool {
        (self.0)() == Some(0)
    }
}

impl fmt::Debug for ReturnCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReturnCount").field(&(self.0)()).finish()
    }
}
