//! When an open poll is a stall: the rules for one slot, as pure functions of what was seen.
//!
//! The same odd number at two scans means at least that long in one poll. It is a stall once
//! that is the threshold, unless the poll has lost its worker meanwhile (another thread took it
//! over: `block_in_place`), which shows in the worker's counters moving, or in another thread
//! being seen on it.

use crate::clock::Nanos;
use crate::labels::PollKind;
use crate::runtime::WorkerCounters;

/// What is known of one slot.
#[derive(Debug, Default)]
pub(in crate::watchdog) struct PollTracker {
    sequence: u64,
    /// When the poll was first seen.
    since: Nanos,
    /// When it was last seen.
    seen: Nanos,
    /// The worker's counters when the poll was first seen.
    counters: Option<WorkerCounters>,
    state: PollState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum PollState {
    /// No poll is open.
    #[default]
    Quiet,
    /// One is open, and may become a stall at `due`.
    Open { due: Nanos },
    /// It is a stall, to be told again once it has lasted for `next`.
    Counted { next: Nanos },
    /// It would be one, but for the environment; to be told again as above.
    Excused { next: Nanos },
    /// One is open that cannot be a stall.
    Exempt,
}

/// An open poll as it looks now.
#[derive(Clone, Copy, Debug)]
pub(in crate::watchdog) struct PollSample {
    pub(in crate::watchdog) sequence: u64,
    pub(in crate::watchdog) threshold: Nanos,
    pub(in crate::watchdog) holds: Holds,
    /// How much of its time was not its doing.
    pub(in crate::watchdog) excused: Nanos,
}

/// What the poll holds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watchdog) enum Holds {
    /// A worker whose counters these are.
    Worker(WorkerCounters),
    /// A thread whose blocking counts by itself: a declared root future.
    Root,
    /// Nothing that counts: no worker, one that another thread runs, or a block that is meant
    /// to be there.
    Nothing,
}

/// What follows from a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watchdog) enum PollEvent {
    /// Nothing to tell.
    None,
    /// It became a stall, after this long. It may have been an excused one before.
    Counted(Nanos),
    /// It has lasted for the threshold, but most of that was not its doing.
    Excused(Nanos),
    /// It is still the same stall.
    Lasts(Nanos),
    /// It has reached the next power of two of its threshold.
    Doubled(Nanos),
    /// It was a stall and lost its worker: it ended when it was last seen.
    Ended(Nanos),
}

impl Holds {
    /// Of a poll that holds no worker.
    pub(in crate::watchdog) fn without_worker(kind: PollKind) -> Self {
        if kind == PollKind::Root { Self::Root } else { Self::Nothing }
    }
}

impl PollTracker {
    pub(in crate::watchdog) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When the poll was first seen.
    pub(in crate::watchdog) fn since(&self) -> Nanos {
        self.since
    }

    /// Whether the open poll is a stall.
    pub(in crate::watchdog) fn is_counted(&self) -> bool {
        matches!(self.state, PollState::Counted { .. })
    }

    /// Whether it would be one, but for the environment.
    pub(in crate::watchdog) fn is_excused(&self) -> bool {
        matches!(self.state, PollState::Excused { .. })
    }

    /// How long the open poll of that number has lasted, if it was seen before and evidence
    /// about it is of use.
    pub(in crate::watchdog) fn lasts(&self, sequence: u64, now: Nanos) -> Option<Nanos> {
        let same = self.sequence == sequence;
        let undecided = matches!(self.state, PollState::Open { .. } | PollState::Excused { .. });
        (same && undecided).then(|| now - self.since)
    }

    /// Whether the open poll cannot become a stall.
    pub(in crate::watchdog) fn is_exempt(&self) -> bool {
        self.state == PollState::Exempt
    }

    /// When the open poll becomes a stall.
    pub(in crate::watchdog) fn due(&self) -> Option<Nanos> {
        match self.state {
            PollState::Open { due } => Some(due),
            _ => None,
        }
    }

    /// The number moved on to `sequence`. If a stall was open it lasted for the time returned;
    /// `left_at` is when the thread says it ended, if it was asked in time.
    pub(in crate::watchdog) fn close(
        &mut self,
        sequence: u64,
        now: Nanos,
        left_at: Option<Nanos>,
    ) -> Option<Nanos> {
        let counted = self.is_counted() || self.is_excused();
        self.sequence = sequence;
        self.state = PollState::Quiet;
        let end = left_at.unwrap_or(self.seen).clamp(self.seen, now.max(self.seen));
        counted.then(|| end - self.since)
    }

    /// The poll is open now.
    pub(in crate::watchdog) fn observe(&mut self, now: Nanos, sample: PollSample) -> PollEvent {
        if self.state == PollState::Quiet || self.sequence != sample.sequence {
            self.begin(now, sample);
        }
        if self.state == PollState::Exempt {
            return PollEvent::None;
        }
        if !self.still_holds(sample.holds) {
            let was_counted = self.is_counted() || self.is_excused();
            self.state = PollState::Exempt;
            let lasted = self.seen - self.since;
            return if was_counted { PollEvent::Ended(lasted) } else { PollEvent::None };
        }
        self.seen = now;
        let lasted = now - self.since;
        match self.state {
            PollState::Counted { next } if lasted >= next => {
                self.state = PollState::Counted { next: power_above(lasted, sample.threshold) };
                PollEvent::Doubled(lasted)
            }
            PollState::Counted { .. } => PollEvent::Lasts(lasted),
            _ if lasted - sample.excused.min(lasted) >= sample.threshold => {
                self.state = PollState::Counted { next: power_above(lasted, sample.threshold) };
                PollEvent::Counted(lasted)
            }
            PollState::Excused { next } if lasted >= next => {
                self.state = PollState::Excused { next: power_above(lasted, sample.threshold) };
                PollEvent::Doubled(lasted)
            }
            PollState::Excused { .. } => PollEvent::Lasts(lasted),
            // Less is nearly a stall of its own doing, and soon will be one.
            _ if lasted >= sample.threshold && sample.excused > lasted / 2 => {
                self.state = PollState::Excused { next: power_above(lasted, sample.threshold) };
                PollEvent::Excused(lasted)
            }
            _ => {
                self.state =
                    PollState::Open { due: self.since + sample.threshold + sample.excused };
                PollEvent::None
            }
        }
    }

    fn begin(&mut self, now: Nanos, sample: PollSample) {
        self.sequence = sample.sequence;
        self.since = now;
        self.seen = now;
        self.counters = match sample.holds {
            Holds::Worker(counters) => Some(counters),
            _ => None,
        };
        self.state = PollState::Open { due: now + sample.threshold };
    }

    fn still_holds(&self, holds: Holds) -> bool {
        match holds {
            // A worker that is parked, or came round its loop, is not in this poll.
            Holds::Worker(now) => self.counters == Some(now) && !now.is_parked(),
            Holds::Root => true,
            Holds::Nothing => false,
        }
    }
}

/// The smallest threshold × 2ⁿ above `lasted`, n ≥ 1.
fn power_above(lasted: Nanos, threshold: Nanos) -> Nanos {
    let mut next = threshold.max(1).saturating_mul(2);
    while next <= lasted && next < Nanos::MAX {
        next = next.saturating_mul(2);
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACTIVE: WorkerCounters = WorkerCounters { parks: 2, busy: 7 };

    fn sample(sequence: u64, holds: Holds) -> PollSample {
        PollSample { sequence, threshold: 100, holds, excused: 0 }
    }

    /// Looks at one poll at each of the times and returns what followed.
    fn look(times: &[Nanos], holds: Holds) -> (PollTracker, Vec<PollEvent>) {
        let mut tracker = PollTracker::default();
        let steps = times.iter().map(|now| tracker.observe(*now, sample(1, holds))).collect();
        (tracker, steps)
    }

    #[test]
    fn a_poll_is_a_stall_at_the_threshold_and_told_again_at_powers_of_two() {
        let (_, steps) = look(&[1000, 1099, 1100, 1150, 1210, 1399, 1900], Holds::Worker(ACTIVE));
        assert_eq!(
            steps,
            [
                PollEvent::None,
                PollEvent::None,
                PollEvent::Counted(100),
                PollEvent::Lasts(150),
                PollEvent::Doubled(210),
                PollEvent::Lasts(399),
                PollEvent::Doubled(900),
            ]
        );
    }

    #[test]
    fn the_watchdog_wants_to_wake_when_the_poll_becomes_a_stall() {
        let (tracker, _) = look(&[1000, 1030], Holds::Worker(ACTIVE));
        assert_eq!(tracker.due(), Some(1100));
        let (tracker, _) = look(&[1000, 1100], Holds::Worker(ACTIVE));
        assert_eq!(tracker.due(), None);
    }

    #[test]
    fn another_poll_starts_anew() {
        let (mut tracker, _) = look(&[1000, 1090], Holds::Worker(ACTIVE));
        assert_eq!(tracker.close(2, 1095, None), None);
        assert_eq!(tracker.observe(1101, sample(3, Holds::Worker(ACTIVE))), PollEvent::None);
        assert_eq!(tracker.since(), 1101);
    }

    #[test]
    fn the_end_is_what_the_thread_says_within_what_was_seen() {
        for (left_at, lasted) in [(Some(1130), 130), (None, 120), (Some(1), 120), (Some(9999), 140)]
        {
            let (mut tracker, _) = look(&[1000, 1100, 1120], Holds::Worker(ACTIVE));
            assert_eq!(tracker.close(2, 1140, left_at), Some(lasted), "{left_at:?}");
        }
    }

    #[test]
    fn a_worker_that_moved_on_is_not_held_by_that_poll() {
        for moved in [WorkerCounters { busy: 8, ..ACTIVE }, WorkerCounters { parks: 4, ..ACTIVE }] {
            let mut tracker = PollTracker::default();
            tracker.observe(1000, sample(1, Holds::Worker(ACTIVE)));
            assert_eq!(tracker.observe(1050, sample(1, Holds::Worker(moved))), PollEvent::None);
            assert_eq!(tracker.observe(1300, sample(1, Holds::Worker(moved))), PollEvent::None);
            assert_eq!(tracker.close(2, 1301, None), None);
        }
    }

    #[test]
    fn a_parked_worker_is_not_held_by_any_poll() {
        let parked = WorkerCounters { parks: 3, ..ACTIVE };
        assert_eq!(
            look(&[1000, 1500], Holds::Worker(parked)).1,
            [PollEvent::None, PollEvent::None]
        );
    }

    #[test]
    fn a_stall_that_loses_its_worker_ends_there() {
        let mut tracker = PollTracker::default();
        tracker.observe(1000, sample(1, Holds::Worker(ACTIVE)));
        tracker.observe(1100, sample(1, Holds::Worker(ACTIVE)));
        assert_eq!(tracker.observe(1200, sample(1, Holds::Nothing)), PollEvent::Ended(100));
        assert_eq!(tracker.observe(1300, sample(1, Holds::Worker(ACTIVE))), PollEvent::None);
        assert_eq!(tracker.close(2, 1301, Some(1300)), None, "it has ended already");
    }

    #[test]
    fn a_root_future_counts_without_a_worker_and_others_do_not() {
        assert_eq!(look(&[1000, 1100], Holds::Root).1, [PollEvent::None, PollEvent::Counted(100)]);
        assert_eq!(look(&[1000, 1100], Holds::Nothing).1, [PollEvent::None, PollEvent::None]);
    }

    #[test]
    fn a_late_watchdog_tells_once() {
        let (_, steps) = look(&[1000, 99_000, 99_001], Holds::Root);
        assert_eq!(steps, [PollEvent::None, PollEvent::Counted(98_000), PollEvent::Lasts(98_001)]);
    }

    /// Looks at one poll at each of the times, with so much of it excused.
    fn excused(sights: &[(Nanos, Nanos)]) -> (PollTracker, Vec<PollEvent>) {
        let mut tracker = PollTracker::default();
        let steps = sights.iter().map(|(now, excused)| {
            tracker
                .observe(*now, PollSample { excused: *excused, ..sample(1, Holds::Worker(ACTIVE)) })
        });
        let steps = steps.collect();
        (tracker, steps)
    }

    #[test]
    fn what_the_environment_took_is_not_counted() {
        let (tracker, steps) = excused(&[(1000, 0), (1090, 30), (1120, 30), (1130, 30)]);
        assert_eq!(
            steps,
            [PollEvent::None, PollEvent::None, PollEvent::None, PollEvent::Counted(130)]
        );
        assert!(tracker.is_counted());
    }

    #[test]
    fn a_poll_that_the_environment_held_is_told_as_such_and_may_turn_out_to_be_a_stall() {
        let sights = [(1000, 0), (1110, 80), (1150, 110), (1210, 120), (1250, 120)];
        let (mut tracker, steps) = excused(&sights);
        let expected = [
            PollEvent::None,
            PollEvent::Excused(110),
            PollEvent::Lasts(150),
            PollEvent::Doubled(210),
            PollEvent::Counted(250),
        ];
        assert_eq!(steps, expected);
        assert_eq!(tracker.close(2, 1260, None), Some(250));
        let (mut tracker, _) = excused(&sights[..3]);
        assert!(tracker.is_excused() && !tracker.is_counted());
        assert_eq!(tracker.close(2, 1160, None), Some(150), "an excused one ends too");
    }

    #[test]
    fn the_watchdog_wakes_when_an_excused_poll_could_become_a_stall() {
        let (tracker, _) = excused(&[(1000, 0), (1090, 30)]);
        assert_eq!(tracker.due(), Some(1130));
        assert_eq!((tracker.lasts(1, 1095), tracker.lasts(3, 1095)), (Some(95), None));
    }
}
