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
use super::case::Case;
use super::exam::{Exam, Held};
use super::machine::Machine;
use super::policy::{Holds, Sight, Step, Track};
use super::stall::OpenStall;
use crate::causes::{Clue, Verdict};
use crate::clock::Nanos;
use crate::detector::ring::Taken;

/// How long an answer is waited for: the first names take their time.
const PATIENCE: Nanos = 30_000_000_000;
/// How long a worker is left alone once it turned out not to be in one poll; twice as long each
/// further time that it has not moved.
const REST: Nanos = 1_000_000_000;
const MOST_DOUBLINGS: u32 = 6;

#[derive(Debug, Default)]
pub(super) struct Suspect {
    pub(super) stall: Option<OpenStall>,
    thread: u32,
    /// Counts what is taken for one poll.
    sequence: u64,
    track: Track,
    case: Case,
    /// Asked last.
    exam: Option<Arc<Exam>>,
    /// The one that counts returns.
    counter: Option<Arc<Exam>>,
    quiet_until: Nanos,
    acquittals: u32,
}

/// The worker as it looks now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Still {
    /// Its thread.
    pub(super) thread: u32,
    /// Of a current-thread runtime.
    pub(super) single: bool,
    pub(super) threshold: Nanos,
}

impl Suspect {
    pub(super) fn since(&self) -> Nanos {
        self.track.since()
    }

    pub(super) fn is_counted(&self) -> bool {
        self.track.is_counted()
    }

    /// Whether it is known why the worker does not come round.
    pub(super) fn is_explained(&self) -> bool {
        self.track.is_counted() || self.track.is_excused()
    }

    /// Whether it may turn out to be in one poll, and to blame for that.
    pub(super) fn is_undecided(&self) -> bool {
        self.thread != 0 && !self.is_counted()
    }

    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.case.verdict()
    }

    pub(super) fn clue(&self) -> Option<Clue> {
        self.case.clue()
    }

    /// The stack that proved it.
    pub(super) fn taken(&self) -> Option<Taken> {
        held(self.exam.as_ref()).map(|held| held.taken.clone())
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
        (self.thread, self.exam, self.counter) = (0, None, None);
        self.sequence += 1;
        self.track.close(self.sequence, 0, None)
    }

    /// The worker has not come round since the last scan.
    pub(super) fn look(
        &mut self,
        now: Nanos,
        still: Still,
        machine: &mut Machine,
        observer: &mut dyn Observer,
    ) -> Step {
        if self.is_explained() {
            return self.goes_on(now, still, machine);
        }
        if now < self.quiet_until {
            return Step::None;
        }
        if self.thread != still.thread {
            self.thread = still.thread;
            self.begin(now, now, still, machine);
            return Step::None;
        }
        if self.counter.is_some() && !self.is_same_poll() {
            return self.acquit(now);
        }
        let lasted = now.saturating_sub(self.track.since());
        if lasted < still.threshold {
            return Step::None;
        }
        let waits = self.exam.as_ref().is_some_and(|exam| exam.is_open(now, PATIENCE));
        if waits {
            return Step::None;
        }
        let excused = self.case.weigh(now, lasted, still.thread, machine);
        let Some(exam) = &self.exam else {
            let exam = Arc::new(Exam::new(still.thread, still.single, now));
            self.exam = Some(Arc::clone(&exam));
            observer.examine(exam);
            return Step::None;
        };
        match exam.answer() {
            None | Some(None) => self.acquit(now),
            Some(Some(held)) => {
                let after = held.since() >= self.track.since() + still.threshold;
                let counts = held.returns.is_some();
                if after && (self.is_same_poll() || self.case.waited_throughout()) {
                    if self.counter.is_none() && counts {
                        self.counter.clone_from(&self.exam);
                    }
                    return self.track.look(now, sight(self.sequence, still, excused));
                }
                if self.counter.is_some() || !counts {
                    return self.acquit(now);
                }
                // From then on returns are counted.
                let since = held.since();
                self.counter = self.exam.take();
                self.begin(since, now, still, machine);
                Step::None
            }
        }
    }

    /// It is a stall by now.
    fn goes_on(&mut self, now: Nanos, still: Still, machine: &mut Machine) -> Step {
        let lasted = now.saturating_sub(self.track.since());
        let counted = self.is_same_poll();
        let mut excused = 0;
        if !counted || self.track.is_excused() {
            excused = self.case.weigh(now, lasted, still.thread, machine);
        }
        if self.thread == still.thread && (counted || self.case.waited_throughout()) {
            return self.track.look(now, sight(self.sequence, still, excused));
        }
        self.forget().map_or(Step::None, Step::Ended)
    }

    fn begin(&mut self, since: Nanos, now: Nanos, still: Still, machine: &mut Machine) {
        self.sequence += 1;
        self.case = Case::open(machine);
        self.case.look(now, still.thread, machine);
        self.track.look(since, sight(self.sequence, still, 0));
    }

    /// It is not in one poll, or that cannot be told.
    fn acquit(&mut self, now: Nanos) -> Step {
        self.quiet_until = now + (REST << self.acquittals);
        self.acquittals = (self.acquittals + 1).min(MOST_DOUBLINGS);
        self.forget();
        Step::None
    }

    /// Whether no poll has returned since they are counted, of the place where it was seen last.
    fn is_same_poll(&self) -> bool {
        let Some(counter) = held(self.counter.as_ref()) else { return false };
        let last = held(self.exam.as_ref());
        counter.still() && last.is_none_or(|last| last.returns_to == counter.returns_to)
    }
}

fn held(exam: Option<&Arc<Exam>>) -> Option<&Held> {
    exam?.answer().flatten()
}

fn sight(sequence: u64, still: Still, excused: Nanos) -> Sight {
    Sight { sequence, threshold: still.threshold, holds: Holds::Root, excused }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_left_alone_for_longer_each_time_until_it_moves() {
        let mut suspect = Suspect::default();
        let mut rests = |moved: bool| {
            suspect.clear(moved);
            suspect.acquit(0);
            suspect.quiet_until / REST
        };
        assert_eq!([rests(false), rests(false), rests(false)], [1, 2, 4]);
        assert_eq!([rests(true), rests(false)], [1, 2]);
        assert_eq!((0..20).map(|_| rests(false)).max(), Some(64));
    }
}
