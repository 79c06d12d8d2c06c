//! Which worker an open marked poll holds whose thread is not where it said last.
//!
//! With `block_in_place` a worker goes on on another thread. A thread says where it is when it is asked,
//! at the next poll; in between it may have taken over another worker. The worker that it said it runs is
//! then seen on a later thread, and the poll may hold another worker or, if it gave its own away, none.
//!
//! It holds one if its stack shows a poll and no `block_in_place`, and there is a worker that has stood
//! still for as long, that nothing else explains, and that still does so when the stack was read. A stack
//! that cannot be taken, or lacks its outer frames, shows neither: another one is taken once the poll has
//! lasted for twice as long, or for a second more.

use std::sync::Arc;

use crate::clock::Nanos;
use crate::stack::PollProof;

/// How long to wait for the stack.
const PATIENCE: Nanos = 30_000_000_000;

/// The longest time between two stacks of a poll of which none was whole.
const LONGEST_PAUSE: Nanos = 1_000_000_000;

/// What is known of the last such poll of a slot.
#[derive(Debug, Default)]
pub(crate) struct MisplacedPoll {
    sequence: u64,
    /// When it was first seen.
    pub(crate) since: Nanos,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Seen,
    /// A stack was requested, when it could be this worker.
    Asked(Arc<PollProof>, StandingWorker),
    Found(StandingWorker),
    /// There was no whole stack; another is taken at that time.
    NotShown {
        again: Nanos,
    },
    /// Its stack shows so, or it held one and gave it away.
    HoldsNothing,
}

/// A worker that a misplaced poll may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StandingWorker {
    pub(crate) worker: usize,
    /// That of the thread which was last seen running it.
    pub(crate) claim: u64,
}

/// A misplaced poll at one scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MisplacedSample {
    pub(crate) sequence: u64,
    pub(crate) thread: u32,
    pub(crate) threshold: Nanos,
    /// Whether it is on a current-thread runtime.
    pub(crate) single: bool,
    /// A worker that has stood still for the threshold and that nothing explains: the
    /// [`candidate`](MisplacedPoll::candidate), if it still does.
    pub(crate) still_worker: Option<StandingWorker>,
}

/// What the watchdog has to do.
#[derive(Debug)]
pub(crate) enum MisplacedStep {
    Nothing,
    /// Request a stack.
    Ask(Arc<PollProof>),
    /// It holds this worker.
    Holds(StandingWorker),
}

impl MisplacedPoll {
    /// Whether it is known which worker that poll holds.
    pub(crate) fn is_found(&self, sequence: u64) -> bool {
        self.sequence == sequence && matches!(self.state, State::Found(_))
    }

    /// The worker that the poll holds if its stack shows a poll.
    pub(crate) fn candidate(&self, sequence: u64) -> Option<usize> {
        match &self.state {
            State::Asked(_, candidate) if self.sequence == sequence => Some(candidate.worker),
            _ => None,
        }
    }

    /// That poll no longer holds the worker that it was found to hold.
    pub(crate) fn lose(&mut self, sequence: u64) {
        if self.is_found(sequence) {
            self.state = State::HoldsNothing;
        }
    }

    pub(crate) fn update(&mut self, now: Nanos, sample: MisplacedSample) -> MisplacedStep {
        let MisplacedSample { sequence, thread, threshold, single, still_worker } = sample;
        if self.sequence != sequence {
            *self = Self { sequence, since: now, state: State::Seen };
        }
        let lasted = now.saturating_sub(self.since);
        let is_due = match self.state {
            State::Seen => lasted >= threshold,
            State::NotShown { again } => now >= again,
            _ => false,
        };
        match (&self.state, still_worker) {
            (State::Found(worker), _) => MisplacedStep::Holds(*worker),
            (_, Some(candidate)) if is_due => {
                let proof = Arc::new(PollProof::new(thread, single, now));
                self.state = State::Asked(Arc::clone(&proof), candidate);
                MisplacedStep::Ask(proof)
            }
            (State::Asked(proof, candidate), still) => match proof.answer() {
                Some(Some(_)) if still == Some(*candidate) => {
                    let worker = *candidate;
                    self.state = State::Found(worker);
                    MisplacedStep::Holds(worker)
                }
                // It was another one, or was given away since: another stack tells.
                Some(Some(_)) => {
                    self.state = State::Seen;
                    MisplacedStep::Nothing
                }
                None if proof.is_open(now, PATIENCE) => MisplacedStep::Nothing,
                Some(_) if !proof.is_not_shown() => {
                    self.state = State::HoldsNothing;
                    MisplacedStep::Nothing
                }
                _ => {
                    let again = now.saturating_add(lasted.min(LONGEST_PAUSE));
                    self.state = State::NotShown { again };
                    MisplacedStep::Nothing
                }
            },
            _ => MisplacedStep::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stall::StackResult;

    const STANDS: StandingWorker = StandingWorker { worker: 3, claim: 17 };

    const SEEN: MisplacedSample = MisplacedSample {
        sequence: 7,
        thread: 1,
        threshold: 100,
        single: false,
        still_worker: Some(STANDS),
    };

    fn asked(poll: &mut MisplacedPoll) -> Arc<PollProof> {
        assert!(matches!(poll.update(1000, SEEN), MisplacedStep::Nothing));
        match poll.update(1100, SEEN) {
            MisplacedStep::Ask(proof) => proof,
            step => panic!("{step:?}"),
        }
    }

    #[test]
    fn a_stack_in_a_poll_and_a_worker_that_stands_still_place_it() {
        let mut poll = MisplacedPoll::default();
        let proof = asked(&mut poll);
        assert!(matches!(poll.update(1110, SEEN), MisplacedStep::Nothing));
        proof.held(1115, StackResult::default(), 0, None);
        assert!(matches!(poll.update(1120, SEEN), MisplacedStep::Holds(STANDS)));
        let later = MisplacedSample { still_worker: None, ..SEEN };
        assert!(matches!(poll.update(1200, later), MisplacedStep::Holds(STANDS)));
        assert_eq!(poll.since, 1000);
        let next = MisplacedSample { sequence: 9, ..SEEN };
        assert!(matches!(poll.update(1210, next), MisplacedStep::Nothing));
    }

    #[test]
    fn one_that_gives_its_worker_away_is_not_found_again() {
        let mut poll = MisplacedPoll::default();
        asked(&mut poll).held(1105, StackResult::default(), 0, None);
        assert!(matches!(poll.update(1110, SEEN), MisplacedStep::Holds(_)));
        poll.lose(9);
        assert!(poll.is_found(7), "another poll");
        poll.lose(7);
        assert!(!poll.is_found(7));
        assert!(matches!(poll.update(1300, SEEN), MisplacedStep::Nothing));
    }

    #[test]
    fn a_stack_that_shows_nothing_is_taken_again_each_time_the_poll_has_lasted_twice_as_long() {
        let mut poll = MisplacedPoll::default();
        asked(&mut poll).not_shown();
        let (mut now, mut asked) = (1100, Vec::new());
        while asked.len() < 4 {
            now += 10;
            if let MisplacedStep::Ask(proof) = poll.update(now, SEEN) {
                proof.not_shown();
                asked.push(now - 1000);
            }
        }
        assert_eq!(asked, [220, 460, 940, 1900]);
        while !matches!(poll.update(now, SEEN), MisplacedStep::Ask(proof) if {
            proof.held(now, StackResult::default(), 0, None);
            true
        }) {
            now += 10;
        }
        assert!(matches!(poll.update(now + 10, SEEN), MisplacedStep::Holds(STANDS)));
        assert_eq!(poll.since, 1000, "its time counts from its begin");
    }

    #[test]
    fn without_either_it_holds_nothing() {
        let mut poll = MisplacedPoll::default();
        asked(&mut poll).not_held();
        assert!(matches!(poll.update(1120, SEEN), MisplacedStep::Nothing));
        assert!(matches!(poll.update(1300, SEEN), MisplacedStep::Nothing), "not asked again");
        let mut poll = MisplacedPoll::default();
        asked(&mut poll).held(1115, StackResult::default(), 0, None);
        let taken = StandingWorker { claim: 18, ..STANDS };
        let taken = MisplacedSample { still_worker: Some(taken), ..SEEN };
        assert!(matches!(poll.update(1120, taken), MisplacedStep::Nothing), "by another thread");
        assert!(
            matches!(poll.update(1130, taken), MisplacedStep::Ask(_)),
            "is it still in a poll?"
        );
        let mut poll = MisplacedPoll::default();
        asked(&mut poll).held(1115, StackResult::default(), 0, None);
        let none_still = MisplacedSample { still_worker: None, ..SEEN };
        assert!(matches!(poll.update(1120, none_still), MisplacedStep::Nothing));
        assert!(matches!(poll.update(1130, none_still), MisplacedStep::Nothing));
        let mut poll = MisplacedPoll::default();
        poll.update(1000, none_still);
        assert!(
            matches!(poll.update(1500, none_still), MisplacedStep::Nothing),
            "no stack is taken"
        );
    }
}
