//! A worker that does not come round its loop while no marked poll says why.
//!
//! Healthy workers under load look the same for a while, so this is a suspicion. One poll is
//! proven by a stack that is taken after the threshold and shows the worker in a poll, together
//! with either of:
//!
//! - its thread has waited in the same call of the system all that time;
//! - a breakpoint where the poll of an earlier such stack returns to has not been come by.

use std::sync::Arc;

use super::Observer;
use super::environment::Environment;
use super::evidence::EvidenceLog;
use super::open_stall::OpenStall;
use super::rules::poll::{Holds, PollEvent, PollSample, PollTracker};
use crate::cause::{CauseReport, Classification};
use crate::clock::Nanos;
use crate::stack::{PollProof, ProvenPoll};
use crate::stall::StackResult;

/// How long an answer is waited for: the first names take their time.
const PATIENCE: Nanos = 30_000_000_000;
/// How long a worker is left alone once it turned out not to be in one poll; twice as long each
/// further time that it has not moved.
const REST: Nanos = 1_000_000_000;
const MOST_DOUBLINGS: u32 = 6;

#[derive(Debug, Default)]
pub(super) struct Unattributed {
    pub(super) stall: Option<OpenStall>,
    thread: u32,
    /// Counts what is taken for one poll.
    sequence: u64,
    tracker: PollTracker,
    evidence: EvidenceLog,
    /// Asked last.
    proof: Option<Arc<PollProof>>,
    /// The one that counts returns.
    counter: Option<Arc<PollProof>>,
    quiet_until: Nanos,
    acquittals: u32,
}

/// The worker as it looks now.
#[derive(Clone, Copy, Debug)]
pub(super) struct StillWorker {
    /// Its thread.
    pub(super) thread: u32,
    /// Of a current-thread runtime.
    pub(super) single: bool,
    pub(super) threshold: Nanos,
}

impl Unattributed {
    pub(super) fn since(&self) -> Nanos {
        self.tracker.since()
    }

    pub(super) fn is_counted(&self) -> bool {
        self.tracker.is_counted()
    }

    /// Whether it is known why the worker does not come round.
    pub(super) fn is_explained(&self) -> bool {
        self.tracker.is_counted() || self.tracker.is_excused()
    }

    /// Whether it may turn out to be in one poll, and to blame for that.
    pub(super) fn is_undecided(&self) -> bool {
        self.thread != 0 && !self.is_counted()
    }

    pub(super) fn classification(&self) -> Option<Classification> {
        self.evidence.classification()
    }

    pub(super) fn cause_report(&self) -> Option<CauseReport> {
        self.evidence.cause_report()
    }

    /// The stack that proved it.
    pub(super) fn taken(&self) -> Option<StackResult> {
        held(self.proof.as_ref()).map(|held| held.taken.clone())
    }

    /// The worker came round, or it is known why it does not. If it had a stall, that lasted for
    /// the time returned.
    pub(super) fn clear(&mut self, moved: bool) -> Option<Nanos> {
        if moved {
            self.acquittals = 0;
        }
        if self.thread == 0 { None } else { self.forget() }
    }

    fn forget(&mut self) -> Option<Nanos> {
        (self.thread, self.proof, self.counter) = (0, None, None);
        self.sequence += 1;
        self.tracker.close(self.sequence, 0, None)
    }

    /// The worker has not come round since the last scan.
    pub(super) fn look(
        &mut self,
        now: Nanos,
        still: StillWorker,
        environment: &mut Environment,
        observer: &mut dyn Observer,
    ) -> PollEvent {
        if self.is_explained() {
            return self.goes_on(now, still, environment);
        }
        if now < self.quiet_until {
            return PollEvent::None;
        }
        if self.thread != still.thread {
            self.thread = still.thread;
            self.begin(now, now, still, environment);
            return PollEvent::None;
        }
        if self.counter.is_some() && !self.is_same_poll() {
            return self.acquit(now);
        }
        let lasted = now.saturating_sub(self.tracker.since());
        if lasted < still.threshold {
            return PollEvent::None;
        }
        let waits = self.proof.as_ref().is_some_and(|proof| proof.is_open(now, PATIENCE));
        if waits {
            return PollEvent::None;
        }
        let excused = self.evidence.weigh(now, lasted, still.thread, environment);
        let Some(proof) = &self.proof else {
            let proof = Arc::new(PollProof::new(still.thread, still.single, now));
            self.proof = Some(Arc::clone(&proof));
            observer.examine(proof);
            return PollEvent::None;
        };
        match proof.answer() {
            None | Some(None) => self.acquit(now),
            Some(Some(held)) => {
                let after = held.since() >= self.tracker.since() + still.threshold;
                let counts = held.returns.is_some();
                if after && (self.is_same_poll() || self.evidence.waited_throughout()) {
                    if self.counter.is_none() && counts {
                        self.counter.clone_from(&self.proof);
                    }
                    return self.tracker.observe(now, sample(self.sequence, still, excused));
                }
                if self.counter.is_some() || !counts {
                    return self.acquit(now);
                }
                // From then on returns are counted.
                let since = held.since();
                self.counter = self.proof.take();
                self.begin(since, now, still, environment);
                PollEvent::None
            }
        }
    }

    /// It is a stall by now.
    fn goes_on(
        &mut self,
        now: Nanos,
        still: StillWorker,
        environment: &mut Environment,
    ) -> PollEvent {
        let lasted = now.saturating_sub(self.tracker.since());
        let counted = self.is_same_poll();
        let mut excused = 0;
        if !counted || self.tracker.is_excused() {
            excused = self.evidence.weigh(now, lasted, still.thread, environment);
        }
        if self.thread == still.thread && (counted || self.evidence.waited_throughout()) {
            return self.tracker.observe(now, sample(self.sequence, still, excused));
        }
        self.forget().map_or(PollEvent::None, PollEvent::Ended)
    }

    fn begin(
        &mut self,
        since: Nanos,
        now: Nanos,
        still: StillWorker,
        environment: &mut Environment,
    ) {
        self.sequence += 1;
        self.evidence = EvidenceLog::open(environment);
        self.evidence.look(now, still.thread, environment);
        self.tracker.observe(since, sample(self.sequence, still, 0));
    }

    /// It is not in one poll, or that cannot be told.
    fn acquit(&mut self, now: Nanos) -> PollEvent {
        self.quiet_until = now + (REST << self.acquittals);
        self.acquittals = (self.acquittals + 1).min(MOST_DOUBLINGS);
        self.forget();
        PollEvent::None
    }

    /// Whether no poll has returned since they are counted, of the place where it was seen last.
    fn is_same_poll(&self) -> bool {
        let Some(counter) = held(self.counter.as_ref()) else { return false };
        let last = held(self.proof.as_ref());
        counter.still() && last.is_none_or(|last| last.returns_to == counter.returns_to)
    }
}

fn held(proof: Option<&Arc<PollProof>>) -> Option<&ProvenPoll> {
    proof?.answer().flatten()
}

fn sample(sequence: u64, still: StillWorker, excused: Nanos) -> PollSample {
    PollSample { sequence, threshold: still.threshold, holds: Holds::Root, excused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_left_alone_for_longer_each_time_until_it_moves() {
        let mut unattributed = Unattributed::default();
        let mut rests = |moved: bool| {
            unattributed.clear(moved);
            unattributed.acquit(0);
            unattributed.quiet_until / REST
        };
        assert_eq!([rests(false), rests(false), rests(false)], [1, 2, 4]);
        assert_eq!([rests(true), rests(false)], [1, 2]);
        assert_eq!((0..20).map(|_| rests(false)).max(), Some(64));
    }
}
