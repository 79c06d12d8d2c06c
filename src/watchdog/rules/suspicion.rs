//! Whether a worker that makes no progress, and that no marked poll explains, is in one poll: a state
//! machine.
//!
//! Tokio updates the counters of a worker when it parks, and otherwise only now and then: those of a
//! healthy worker under load stand still for a while. So counters that stand still are a suspicion.
//! The proof of one poll is a stack that is taken after the threshold and shows the worker in a poll,
//! together with one of
//!
//! - the same wait: the thread has waited in one system call since the suspicion began;
//! - no return: a breakpoint at the return address of the poll in an *earlier* stack was not hit
//!   since, and the poll in the later stack has the same return address.
//!
//! The names of a stack take milliseconds, and those of the first one up to a second. Meanwhile it is
//! seen at each scan whether the proof would hold. So a poll that is over before the names are there is
//! proven afterwards, for the time until it was last seen.
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
//! | `Clear` | the worker stands still | `Suspected`; `Asked` if the service was idle before |
//! | `Resting` | the rest is over | `Suspected` |
//! | `Suspected` | it lasts for the threshold | `Asked`: a stack is taken |
//! | `Asked` | in a poll, by the same wait | `Proven` |
//! | | in a poll, or not known yet; no same wait, and returns are counted | `Counting`: the time starts again |
//! | | in a poll, but neither proof is possible; in no poll; no answer in 30 s | `Resting` |
//! | | it has no names yet, and the wait is over | `Clear`: it is kept |
//! | `Counting` | the threshold passes without a return | `AskedAgain`: another stack is taken |
//! | | a poll returned; the first stack is in no poll | `Resting`; `Asked` if it has no names yet |
//! | | the first stack is in a poll that returns elsewhere | `Counting`: the time starts again |
//! | `AskedAgain` | both in a poll, with the same return address, and none returned | `Proven` |
//! | | a poll returned; in another poll or none; no answer in 30 s | `Resting` |
//! | | the second could not be taken, up to three times | `Counting` |
//! | | they have no names yet, and a poll returned after the second | `Clear`: it is kept |
//! | | the first stack is in a poll that returns elsewhere | `Counting`: the time starts again |
//! | `Proven` | it is a stall, the environment's share subtracted | `Stalled`, in the same scan |
//! | | it would be one, but for the environment | `Excused`, in the same scan |
//! | | the proof no longer holds | `Resting` |
//! | `Excused` | it is a stall, the environment's share subtracted | `Stalled` |
//! | | neither proof holds any more; another thread | `Clear`: the stall ends |
//! | `Stalled` | neither proof holds any more; another thread | `Clear`: the stall ends |
//! | `Suspected` … `Proven` | another thread runs the worker | `Suspected` again |
//! | any but `Resting` | the worker makes progress, or a slot explains it | `Clear`; a stall ends |
//!
//! A rest lasts one second, and each further one twice as long until the worker makes progress. That
//! does not end a rest, but makes the next one short again.

mod asked;
mod ended;
mod input;

use std::sync::Arc;

use self::asked::{Answer, OnePoll, answer, found, request, request_second, returns_to_the_same};

pub(crate) use self::ended::EndedStall;
use self::ended::{LastSeen, Stacks, Unnamed};
pub(crate) use self::input::{StillWorker, Weighed};
use super::poll::{Holds, PollEvent, PollSample, PollTracker};
use crate::clock::Nanos;
use crate::stack::PollProof;
use crate::stall::StackResult;

/// The first rest of a worker that turned out not to be in one poll: stacks are not free.
const REST: Nanos = 1_000_000_000;
/// How often a second stack is asked for again that could not be taken.
const MOST_FAILURES: u32 = 3;
/// How often a rest can double, up to 64 s.
const MOST_DOUBLINGS: u32 = 6;

/// What is known of one worker since its last progress.
#[derive(Debug, Default)]
pub(crate) struct Suspicion {
    state: State,
    /// The suspected thread.
    thread: u32,
    /// The tracker's sequence number of what may be one poll.
    sequence: u64,
    /// What the worker may be in, as one poll.
    pub(crate) tracker: PollTracker,
    /// Rests since the worker last made progress.
    rests: u32,
    /// Second stacks of what may be one poll that could not be taken.
    failures: u32,
    /// A poll that is over and may turn out to have been a stall. One at a time.
    unnamed: Option<Unnamed>,
}

/// The states of the table above.
#[derive(Debug, Default)]
enum State {
    /// Nothing is suspected.
    #[default]
    Clear,
    /// It was not in one poll, or there was no proof: nothing is suspected until then.
    Resting { until: Nanos },
    /// It makes no progress, for less than the threshold so far.
    Suspected,
    /// A stack was requested. `seen` while it has no names, and is of one poll if it is in one.
    Asked { proof: Arc<PollProof>, seen: Option<LastSeen> },
    /// The returns of the poll are counted since the stack was taken. The time starts again with it.
    Counting { first: Arc<PollProof> },
    /// There was no return for the threshold: another stack was requested. `seen` as above.
    AskedAgain { first: Arc<PollProof>, second: Arc<PollProof>, seen: Option<LastSeen> },
    /// It is in one poll that is no stall yet: some of the time was the environment's.
    Proven(OnePoll),
    /// It would be a stall, but most of the time was the environment's.
    Excused(OnePoll),
    /// It is a stall.
    Stalled(OnePoll),
}

/// What the watchdog has to do.
#[derive(Debug)]
pub(crate) enum Step {
    Nothing,
    /// Start to collect evidence.
    Collect,
    /// The same, and request a stack.
    CollectAndAsk(Arc<PollProof>),
    /// Request a stack that answers whether the thread is in one poll.
    Ask(Arc<PollProof>),
    /// Report what became of the poll.
    Poll(PollEvent),
}

impl Suspicion {
    /// The worker has made no progress since the last scan. `weigh` reads the evidence, given the
    /// time since the suspicion began. It is called only if that decides.
    pub(crate) fn update(
        &mut self,
        worker: StillWorker,
        weigh: impl FnOnce(Nanos) -> Weighed,
    ) -> Step {
        let now = worker.now;
        let same_thread = worker.thread == self.thread;
        let lasted = now.saturating_sub(self.tracker.since);
        let is_over = lasted >= worker.threshold;
        let (state, step) = match std::mem::take(&mut self.state) {
            State::Clear => self.suspect(worker),
            resting @ State::Resting { until } if now < until => (resting, Step::Nothing),
            State::Resting { .. } => self.suspect(worker),

            // A stall goes on while either proof holds. Evidence costs a few file reads, so it is
            // read only without a breakpoint, and while an excused poll may become a stall.
            State::Excused(poll) | State::Stalled(poll) => {
                let no_return = poll.has_not_returned();
                let weighed = (!no_return || self.tracker.is_excused()).then(|| weigh(lasted));
                let holds = no_return || weighed.is_some_and(|weighed| weighed.same_wait);
                if same_thread && holds {
                    self.observe(worker, poll, weighed.map_or(0, |weighed| weighed.excused))
                } else {
                    let ended = self.forget().map_or(PollEvent::None, PollEvent::Ended);
                    (State::Clear, Step::Poll(ended))
                }
            }

            // What is known of another thread says nothing about this one.
            _ if !same_thread => self.suspect(worker),

            State::Suspected if is_over => {
                let proof = request(worker);
                (State::Asked { proof: Arc::clone(&proof), seen: None }, Step::Ask(proof))
            }
            State::Suspected => (State::Suspected, Step::Nothing),

            State::Asked { proof, seen } => match answer(&proof, now) {
                Answer::No => self.rest(now),
                Answer::Awaited if !proof.is_sampled() => {
                    (State::Asked { proof, seen }, Step::Nothing)
                }
                answer @ (Answer::Awaited | Answer::InPoll(_)) => {
                    let is_named = matches!(answer, Answer::InPoll(_));
                    let counts_since = proof.counts_since();
                    let Weighed { excused, same_wait } = weigh(lasted);
                    // A count goes on with what a wait has shown if it began before the wait was over.
                    let began = |seen: LastSeen| counts_since.is_some_and(|since| since <= seen.at);
                    let goes_on = same_wait || seen.is_some_and(began) && proof.still();
                    if goes_on && is_named {
                        // From now on the breakpoint is the cheaper proof, if there is one.
                        let counter = counts_since.map(|_| Arc::clone(&proof));
                        self.observe(worker, OnePoll { stack: proof, counter }, excused)
                    } else if goes_on {
                        let counted_since = counts_since.filter(|_| !same_wait);
                        let seen = Some(LastSeen { at: now, excused, counted_since });
                        (State::Asked { proof, seen }, Step::Nothing)
                    } else if let Some(seen) = seen {
                        self.end_unnamed(worker, seen, Stacks::One(proof))
                    } else if let Some(since) = counts_since.filter(|_| is_named || proof.still()) {
                        // Before the breakpoint was set, it may have been in other polls.
                        self.begin(since, worker);
                        (State::Counting { first: proof }, Step::Collect)
                    } else if is_named {
                        self.rest(now)
                    } else {
                        (State::Asked { proof, seen: None }, Step::Nothing)
                    }
                }
            },

            State::Counting { first } if !first.still() => match answer(&first, now) {
                // Its names may show that its poll returns elsewhere.
                Answer::Awaited => (State::Asked { proof: first, seen: None }, Step::Nothing),
                Answer::No | Answer::InPoll(_) => self.rest(now),
            },
            State::Counting { first } if self.is_counted_elsewhere(&first) => {
                self.count_again(first, worker)
            }
            State::Counting { first } if is_over => {
                let second = request_second(worker);
                let asked = Arc::clone(&second);
                (State::AskedAgain { first, second, seen: None }, Step::Ask(asked))
            }
            counting @ State::Counting { .. } => (counting, Step::Nothing),

            State::AskedAgain { first, second, seen } => {
                // Read first: a return after that is seen at the next scan.
                let is_sampled = second.is_sampled();
                match (answer(&first, now), answer(&second, now)) {
                    (Answer::No, _) => self.rest(now),
                    // It had no CPU for that, which says nothing.
                    (_, Answer::No) if second.has_failed() && self.failures < MOST_FAILURES => {
                        self.failures += 1;
                        (State::Counting { first }, Step::Nothing)
                    }
                    (_, Answer::No) => self.rest(now),
                    _ if self.is_counted_elsewhere(&first) => self.count_again(first, worker),
                    _ if !first.still() => match seen {
                        Some(seen) => self.end_unnamed(worker, seen, Stacks::Two(first, second)),
                        None => self.rest(now),
                    },
                    // A poll of an inner or outer future does not hit the breakpoint.
                    (_, Answer::InPoll(last))
                        if found(&first).is_some() && !returns_to_the_same(&first, last) =>
                    {
                        self.rest(now)
                    }
                    (Answer::InPoll(_), Answer::InPoll(_)) => {
                        let excused = weigh(lasted).excused;
                        let poll = OnePoll { stack: second, counter: Some(first) };
                        self.observe(worker, poll, excused)
                    }
                    _ => {
                        let excused = || weigh(lasted).excused;
                        let counted_since = first.counts_since();
                        let seen = is_sampled.then(|| LastSeen {
                            at: now,
                            excused: excused(),
                            counted_since,
                        });
                        (State::AskedAgain { first, second, seen }, Step::Nothing)
                    }
                }
            }

            State::Proven(poll) if poll.counter.is_some() && !poll.has_not_returned() => {
                self.rest(now)
            }
            State::Proven(poll) => {
                let Weighed { excused, same_wait } = weigh(lasted);
                if poll.counter.is_some() || same_wait {
                    self.observe(worker, poll, excused)
                } else {
                    self.rest(now)
                }
            }
        };
        self.state = state;
        step
    }

    /// The worker made progress (`moved`), or it is known why it does not. Returns how long the stall
    /// lasted, if there was one.
    pub(crate) fn clear(&mut self, moved: bool, threshold: Nanos) -> Option<Nanos> {
        if moved {
            self.rests = 0;
        }
        // Nearly always, so the state is not moved for it.
        if matches!(self.state, State::Clear | State::Resting { .. }) {
            return None;
        }
        match std::mem::take(&mut self.state) {
            State::Asked { proof, seen: Some(seen) } => {
                self.keep(threshold, seen, Stacks::One(proof));
            }
            State::AskedAgain { first, second, seen: Some(seen) } => {
                self.keep(threshold, seen, Stacks::Two(first, second));
            }
            _ => {}
        }
        self.forget()
    }

    /// Since when the worker may yet turn out to be stalled by one poll, or to have been.
    pub(crate) fn undecided_since(&self) -> Option<Nanos> {
        let is_decided =
            matches!(self.state, State::Clear | State::Resting { .. } | State::Stalled(_));
        let ended = self.unnamed.as_ref().map(|unnamed| unnamed.since);
        ended.or((!is_decided).then_some(self.tracker.since))
    }

    /// Whether the next scan may find a poll over that may turn out to have been a stall.
    pub(crate) fn may_await_names(&self) -> bool {
        matches!(
            self.state,
            State::Asked { seen: Some(_), .. } | State::AskedAgain { seen: Some(_), .. }
        )
    }

    /// Whether a poll is over that may turn out to have been a stall.
    pub(crate) fn awaits_names(&self) -> bool {
        self.unnamed.is_some()
    }

    /// A stall that is over, once that is known.
    pub(crate) fn ended_stall(&mut self, now: Nanos) -> Option<EndedStall> {
        let decided = self.unnamed.as_ref()?.decide(now)?;
        self.unnamed = None;
        decided
    }

    /// The stack that proved the poll.
    pub(crate) fn stack(&self) -> Option<StackResult> {
        match &self.state {
            State::Proven(poll) | State::Excused(poll) | State::Stalled(poll) => {
                found(&poll.stack).map(|found| found.taken.clone())
            }
            _ => None,
        }
    }

    /// A suspicion begins.
    fn suspect(&mut self, worker: StillWorker) -> (State, Step) {
        self.thread = worker.thread;
        self.begin(worker.now, worker);
        if worker.at_once {
            let proof = request(worker);
            let asked = Arc::clone(&proof);
            return (State::Asked { proof, seen: None }, Step::CollectAndAsk(asked));
        }
        (State::Suspected, Step::Collect)
    }

    /// What may have been one poll is over, and its stacks have no names yet. It is kept until they have,
    /// unless another one is.
    fn keep(&mut self, threshold: Nanos, seen: LastSeen, stacks: Stacks) {
        let since = self.tracker.since;
        self.unnamed.get_or_insert(Unnamed { since, seen, threshold, stacks });
    }

    /// The same, and the worker makes no progress.
    fn end_unnamed(
        &mut self,
        worker: StillWorker,
        seen: LastSeen,
        stacks: Stacks,
    ) -> (State, Step) {
        if self.unnamed.is_some() {
            return self.rest(worker.now);
        }
        self.keep(worker.threshold, seen, stacks);
        self.forget();
        (State::Clear, Step::Nothing)
    }

    /// Whether the names of the first stack show that its poll returns to another place than was counted.
    fn is_counted_elsewhere(&self, first: &PollProof) -> bool {
        first.counts_since() != Some(self.tracker.since)
    }

    /// It is counted where the poll returns to by now: the time starts again with that.
    fn count_again(&mut self, first: Arc<PollProof>, worker: StillWorker) -> (State, Step) {
        let Some(since) = first.counts_since() else { return self.rest(worker.now) };
        self.begin(since, worker);
        (State::Counting { first }, Step::Collect)
    }

    /// What may be one poll begins at that time.
    fn begin(&mut self, since: Nanos, worker: StillWorker) {
        self.sequence += 1;
        self.failures = 0;
        self.tracker.observe(since, self.sample(worker, 0));
    }

    /// It is in one poll: the tracker decides whether that is a stall.
    fn observe(&mut self, worker: StillWorker, poll: OnePoll, excused: Nanos) -> (State, Step) {
        let event = self.tracker.observe(worker.now, self.sample(worker, excused));
        let state = if self.tracker.is_counted() {
            State::Stalled(poll)
        } else if self.tracker.is_excused() {
            State::Excused(poll)
        } else {
            State::Proven(poll)
        };
        (state, Step::Poll(event))
    }

    /// It is not in one poll, or there is no proof.
    fn rest(&mut self, now: Nanos) -> (State, Step) {
        let until = now + (REST << self.rests);
        self.rests = (self.rests + 1).min(MOST_DOUBLINGS);
        self.forget();
        (State::Resting { until }, Step::Nothing)
    }

    /// What may have been one poll is over. Returns how long the stall lasted, if there was one.
    fn forget(&mut self) -> Option<Nanos> {
        self.sequence += 1;
        self.tracker.close(self.sequence, 0, None)
    }

    fn sample(&self, worker: StillWorker, excused: Nanos) -> PollSample {
        // The counters have already shown that the thread still runs the worker.
        let StillWorker { threshold, .. } = worker;
        PollSample {
            sequence: self.sequence,
            threshold,
            holds: Holds::Root,
            excused,
            not_before: 0,
        }
    }
}

#[cfg(test)]
mod tests;
