//! Whether a worker that does not come round its loop, while no marked poll says why, is in one
//! poll: a state machine.
//!
//! Tokio updates the counters of a worker when it parks and now and then, so that a healthy worker
//! under load looks the same for a while. That its counters stand still is a suspicion. One poll is
//! proven by a stack that is taken after the threshold and shows the worker in a poll, together with
//! either of
//!
//! - the same wait: its thread has waited in one system call since the suspicion began;
//! - no return: a breakpoint at the address that the poll of an *earlier* stack returns to has not
//!   been hit since, and the later stack returns there too.
//!
//! ```text
//!   Clear ──► Suspected ──► Asked ──────── same wait ────────► Proven ──► Stalled
//!                 ▲           │                                 ▲ │          ▲
//!                 │           ▼                                 │ ▼          │
//!              Resting     Counting ──► AskedAgain ── no return ┘ Excused ───┘
//! ```
//!
//! | from | when | to |
//! |---|---|---|
//! | `Clear` | the worker stands still | `Suspected` |
//! | `Resting` | the rest is over | `Suspected` |
//! | `Suspected` | the threshold is over | `Asked`: a stack is taken |
//! | `Asked` | in a poll, by the same wait | `Proven` |
//! | | in a poll, and returns are counted now | `Counting`: the time begins anew |
//! | | in a poll, but neither proof can be had; in no poll; no answer in 30 s | `Resting` |
//! | `Counting` | the threshold is over without a return | `AskedAgain`: another stack is taken |
//! | | a poll returned | `Resting` |
//! | `AskedAgain` | in a poll that returns to the same address, and none returned | `Proven` |
//! | | a poll returned; in another poll or none; no answer in 30 s | `Resting` |
//! | `Proven` | it is a stall, without the environment's share | `Stalled`, in the same scan |
//! | | it would be one, but for the environment | `Excused`, in the same scan |
//! | | the proof no longer holds | `Resting` |
//! | `Excused` | it is a stall without the environment's share too | `Stalled` |
//! | | neither proof holds any more; another thread | `Clear`: the stall ends |
//! | `Stalled` | neither proof holds any more; another thread | `Clear`: the stall ends |
//! | `Suspected` … `Proven` | another thread runs the worker | `Suspected` anew |
//! | any but `Resting` | the worker moves, or a slot explains it | `Clear`; a stall ends |
//!
//! A rest lasts one second, and twice as long each further time until the worker moves. That it moves
//! does not end a rest: only the next one is short again.

use std::sync::Arc;

use super::poll::{Holds, PollEvent, PollSample, PollTracker};
use crate::clock::Nanos;
use crate::stack::{PollProof, ProvenPoll};
use crate::stall::StackResult;

/// How long an answer is waited for. The first stack of a process takes seconds to get its names,
/// where debug information is large.
const PATIENCE: Nanos = 30_000_000_000;
/// How long a worker is left alone once it turned out not to be in one poll: stacks are not free.
const REST: Nanos = 1_000_000_000;
/// The longest rest is that many doublings of the first: 64 s.
const MOST_DOUBLINGS: u32 = 6;

/// What is known of one worker, from its last move on.
#[derive(Debug, Default)]
pub(in crate::watchdog) struct Suspicion {
    state: State,
    /// The thread that is suspected.
    thread: u32,
    /// Numbers what is taken for one poll, for the tracker.
    sequence: u64,
    /// Its time, and what that makes of it.
    tracker: PollTracker,
    /// Rests since the worker last moved.
    rests: u32,
}

/// See the module.
#[derive(Debug, Default)]
enum State {
    /// Nothing is suspected.
    #[default]
    Clear,
    /// It was not in one poll, or that could not be told: nothing is suspected until then.
    Resting { until: Nanos },
    /// It stands still, for less than the threshold so far.
    Suspected,
    /// For longer: a stack was asked for.
    Asked { proof: Arc<PollProof> },
    /// That stack showed a poll, whose returns are counted since. The time begins anew with it.
    Counting { first: Arc<PollProof> },
    /// There was no return for the threshold: another stack was asked for.
    AskedAgain { first: Arc<PollProof>, second: Arc<PollProof> },
    /// It is in one poll, which is not a stall yet: some of the time was the environment's.
    Proven(OnePoll),
    /// It would be a stall, but most of the time was the environment's.
    Excused(OnePoll),
    /// It is a stall.
    Stalled(OnePoll),
}

/// A poll that is proven.
#[derive(Debug)]
struct OnePoll {
    /// The stack that proved it.
    stack: Arc<PollProof>,
    /// What counts returns; where nothing can, the same wait is the proof.
    counter: Option<Arc<PollProof>>,
}

/// A worker that does not come round.
#[derive(Clone, Copy, Debug)]
pub(in crate::watchdog) struct StillWorker {
    /// Its thread.
    pub(in crate::watchdog) thread: u32,
    /// Of a current-thread runtime.
    pub(in crate::watchdog) single: bool,
    pub(in crate::watchdog) threshold: Nanos,
}

/// What the evidence says of the time since the suspicion began.
#[derive(Clone, Copy, Debug)]
pub(in crate::watchdog) struct Weighed {
    /// How much of it was the environment's.
    pub(in crate::watchdog) excused: Nanos,
    /// The thread has waited in one system call all the time.
    pub(in crate::watchdog) same_wait: bool,
}

/// What the caller has to do.
#[derive(Debug)]
pub(in crate::watchdog) enum Step {
    Nothing,
    /// Begin to collect evidence, from now on.
    Collect,
    /// Have a stack taken, and the question answered by it.
    Ask(Arc<PollProof>),
    /// Tell what became of the poll.
    Poll(PollEvent),
}

/// The answer to a question, as it stands.
enum Answer<'a> {
    Awaited,
    /// The thread is in no poll, or that cannot be told, or could not in time.
    No,
    InPoll(&'a ProvenPoll),
}

impl Suspicion {
    /// The worker has not come round since the last scan. `weigh` is called where the evidence
    /// decides, with the time since the suspicion began.
    pub(in crate::watchdog) fn update(
        &mut self,
        now: Nanos,
        worker: StillWorker,
        weigh: impl FnOnce(Nanos) -> Weighed,
    ) -> Step {
        let same_thread = worker.thread == self.thread;
        let lasted = now.saturating_sub(self.tracker.since());
        let is_over = lasted >= worker.threshold;
        let (state, step) = match std::mem::take(&mut self.state) {
            State::Clear => self.suspect(now, worker),
            resting @ State::Resting { until } if now < until => (resting, Step::Nothing),
            State::Resting { .. } => self.suspect(now, worker),

            // A stall goes on while either proof holds. Evidence costs a few reads of files, so it
            // is only asked where a breakpoint does not tell, and while it may turn an excuse down.
            State::Excused(poll) | State::Stalled(poll) => {
                let no_return = poll.has_not_returned();
                let weighed = (!no_return || self.tracker.is_excused()).then(|| weigh(lasted));
                let holds = no_return || weighed.is_some_and(|weighed| weighed.same_wait);
                if same_thread && holds {
                    self.observe(now, worker, poll, weighed.map_or(0, |weighed| weighed.excused))
                } else {
                    (
                        State::Clear,
                        Step::Poll(self.forget().map_or(PollEvent::None, PollEvent::Ended)),
                    )
                }
            }

            // What was found out about another thread says nothing of this one.
            _ if !same_thread => self.suspect(now, worker),

            State::Suspected if is_over => {
                let proof = question(now, worker);
                (State::Asked { proof: Arc::clone(&proof) }, Step::Ask(proof))
            }
            State::Suspected => (State::Suspected, Step::Nothing),

            State::Asked { proof } => match answer(&proof, now) {
                Answer::Awaited => (State::Asked { proof }, Step::Nothing),
                Answer::No => self.rest(now),
                Answer::InPoll(found) => {
                    let (counts, counts_since) = (found.returns.is_some(), found.since);
                    let weighed = weigh(lasted);
                    if weighed.same_wait {
                        // From here on the breakpoint is the cheaper proof, if there is one.
                        let counter = counts.then(|| Arc::clone(&proof));
                        self.observe(
                            now,
                            worker,
                            OnePoll { stack: proof, counter },
                            weighed.excused,
                        )
                    } else if counts {
                        // Polls before it may have been others: only the time since counts.
                        self.begin(counts_since, worker);
                        (State::Counting { first: proof }, Step::Collect)
                    } else {
                        self.rest(now)
                    }
                }
            },

            State::Counting { first } if !has_not_returned(&first) => self.rest(now),
            State::Counting { first } if is_over => {
                let second = question(now, worker);
                (State::AskedAgain { first, second: Arc::clone(&second) }, Step::Ask(second))
            }
            counting @ State::Counting { .. } => (counting, Step::Nothing),

            State::AskedAgain { first, .. } if !has_not_returned(&first) => self.rest(now),
            State::AskedAgain { first, second } => match answer(&second, now) {
                Answer::Awaited => (State::AskedAgain { first, second }, Step::Nothing),
                Answer::No => self.rest(now),
                // A poll of something else, further in or out, does not pass the breakpoint.
                Answer::InPoll(found) if !returns_to_the_same(&first, found) => self.rest(now),
                Answer::InPoll(_) => {
                    let excused = weigh(lasted).excused;
                    let poll = OnePoll { stack: second, counter: Some(first) };
                    self.observe(now, worker, poll, excused)
                }
            },

            State::Proven(poll) if poll.counter.is_some() && !poll.has_not_returned() => {
                self.rest(now)
            }
            State::Proven(poll) => {
                let Weighed { excused, same_wait } = weigh(lasted);
                if poll.counter.is_some() || same_wait {
                    self.observe(now, worker, poll, excused)
                } else {
                    self.rest(now)
                }
            }
        };
        self.state = state;
        step
    }

    /// The worker came round (`moved`), or it is known why it does not. If it had a stall, that
    /// lasted for the time returned.
    pub(in crate::watchdog) fn clear(&mut self, moved: bool) -> Option<Nanos> {
        if moved {
            self.rests = 0;
        }
        match self.state {
            State::Clear | State::Resting { .. } => None,
            _ => {
                self.state = State::Clear;
                self.forget()
            }
        }
    }

    /// What the worker may be in, as one poll.
    pub(in crate::watchdog) fn tracker(&self) -> &PollTracker {
        &self.tracker
    }

    /// Whether it may turn out to be in one poll, and to blame for that.
    pub(in crate::watchdog) fn is_undecided(&self) -> bool {
        !matches!(self.state, State::Clear | State::Resting { .. } | State::Stalled(_))
    }

    /// The stack that proved it.
    pub(in crate::watchdog) fn stack(&self) -> Option<StackResult> {
        match &self.state {
            State::Proven(poll) | State::Excused(poll) | State::Stalled(poll) => {
                found(&poll.stack).map(|found| found.taken.clone())
            }
            _ => None,
        }
    }

    /// A suspicion begins.
    fn suspect(&mut self, now: Nanos, worker: StillWorker) -> (State, Step) {
        self.thread = worker.thread;
        self.begin(now, worker);
        (State::Suspected, Step::Collect)
    }

    /// What is taken for one poll begins at that time.
    fn begin(&mut self, since: Nanos, worker: StillWorker) {
        self.sequence += 1;
        self.tracker.observe(since, self.sample(worker, 0));
    }

    /// It is in one poll: what is that by now?
    fn observe(
        &mut self,
        now: Nanos,
        worker: StillWorker,
        poll: OnePoll,
        excused: Nanos,
    ) -> (State, Step) {
        let event = self.tracker.observe(now, self.sample(worker, excused));
        let state = if self.tracker.is_counted() {
            State::Stalled(poll)
        } else if self.tracker.is_excused() {
            State::Excused(poll)
        } else {
            State::Proven(poll)
        };
        (state, Step::Poll(event))
    }

    /// It is not in one poll, or that cannot be told.
    fn rest(&mut self, now: Nanos) -> (State, Step) {
        let until = now + (REST << self.rests);
        self.rests = (self.rests + 1).min(MOST_DOUBLINGS);
        self.forget();
        (State::Resting { until }, Step::Nothing)
    }

    /// What was taken for one poll is over. If it was a stall, that lasted for the time returned.
    fn forget(&mut self) -> Option<Nanos> {
        self.sequence += 1;
        self.tracker.close(self.sequence, 0, None)
    }

    fn sample(&self, worker: StillWorker, excused: Nanos) -> PollSample {
        // Whether the worker still has its thread was asked before, by its counters.
        let holds = Holds::Root;
        PollSample { sequence: self.sequence, threshold: worker.threshold, holds, excused }
    }
}

impl OnePoll {
    /// Whether it is known to go on by the counter.
    fn has_not_returned(&self) -> bool {
        let last = found(&self.stack);
        self.counter.as_deref().is_some_and(|counter| {
            has_not_returned(counter) && last.is_some_and(|last| returns_to_the_same(counter, last))
        })
    }
}

fn question(now: Nanos, worker: StillWorker) -> Arc<PollProof> {
    Arc::new(PollProof::new(worker.thread, worker.single, now))
}

fn answer(proof: &PollProof, now: Nanos) -> Answer<'_> {
    // In this order: an answer that comes in between is taken.
    let is_late = !proof.is_open(now, PATIENCE);
    match proof.answer() {
        Some(Some(found)) => Answer::InPoll(found),
        None if !is_late => Answer::Awaited,
        Some(None) | None => Answer::No,
    }
}

fn found(proof: &PollProof) -> Option<&ProvenPoll> {
    proof.answer().flatten()
}

/// Whether no poll has returned where that stack's does, since it was taken.
fn has_not_returned(counter: &PollProof) -> bool {
    found(counter).is_some_and(ProvenPoll::still)
}

fn returns_to_the_same(first: &PollProof, last: &ProvenPoll) -> bool {
    found(first).is_some_and(|first| first.returns_to == last.returns_to)
}

#[cfg(test)]
mod tests;
