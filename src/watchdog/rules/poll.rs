//! When an open poll is a stall: the rules for one slot.
//!
//! The same odd sequence number at two scans means that one poll has lasted at least that long. It
//! is a stall once it has lasted for the threshold, unless it has lost its worker: with
//! `block_in_place` another thread takes over the worker. Then the worker's counters move, or another
//! thread is seen running it.

use crate::clock::Nanos;
use crate::labels::PollKind;
use crate::runtime::WorkerCounters;

/// What is known of one slot.
#[derive(Debug, Default)]
pub(crate) struct PollTracker {
    pub(crate) sequence: u64,
    /// When the poll was first seen.
    pub(crate) since: Nanos,
    /// When it was last seen.
    seen: Nanos,
    /// What it held up when it was first seen.
    holds: Holds,
    state: PollState,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum PollState {
    /// No poll is open.
    #[default]
    Quiet,
    /// A poll is open that may become a stall at `due`.
    Open { due: Nanos },
    /// It is a stall, to be reported again once it has lasted for `next`.
    Counted { next: Nanos },
    /// It would be a stall, but most of the time was the environment's; reported again likewise.
    Excused { next: Nanos },
    /// An allowed block is open that holds its worker.
    Allowed,
    /// A poll is open that cannot be a stall, or an allowed block that holds no worker.
    Exempt,
}

/// An open poll at one scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PollSample {
    pub(crate) sequence: u64,
    pub(crate) threshold: Nanos,
    pub(crate) holds: Holds,
    /// How much of its time was the environment's.
    pub(crate) excused: Nanos,
    /// It is no stall of the program before that time.
    pub(crate) not_before: Nanos,
}

/// What a poll holds up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Holds {
    /// A worker with these counters.
    Worker(WorkerCounters),
    /// The thread of a root future.
    Root,
    /// A worker with these counters, in an allowed block.
    Allowed(WorkerCounters),
    /// Nothing: there is no worker, or another thread has taken it over.
    #[default]
    Nothing,
}

/// What a sample shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollEvent {
    /// Nothing new.
    None,
    /// It became a stall after this long. It may have been excused before.
    Counted(Nanos),
    /// It has lasted for the threshold, but most of that time was the environment's.
    Excused(Nanos),
    /// The stall lasts, for this long so far.
    Lasts(Nanos),
    /// The stall has reached the threshold times the next power of two.
    Doubled(Nanos),
    /// The stall lost its worker: it ended when it was last seen.
    Ended(Nanos),
}

impl Holds {
    /// What a poll of this kind holds up on a thread that runs no worker.
    pub(crate) fn without_worker(kind: PollKind) -> Self {
        if kind == PollKind::Root { Self::Root } else { Self::Nothing }
    }

    /// The counters of the worker that is held.
    pub(crate) fn counters(self) -> Option<WorkerCounters> {
        match self {
            Self::Worker(counters) | Self::Allowed(counters) => Some(counters),
            Self::Root | Self::Nothing => None,
        }
    }
}

impl PollTracker {
    /// Whether the open poll is a stall.
    pub(crate) fn is_counted(&self) -> bool {
        matches!(self.state, PollState::Counted { .. })
    }

    /// Whether it would be a stall, but for the environment.
    pub(crate) fn is_excused(&self) -> bool {
        matches!(self.state, PollState::Excused { .. })
    }

    /// Whether the open poll is a stall, of the program or of the environment.
    pub(crate) fn is_stall(&self) -> bool {
        self.is_counted() || self.is_excused()
    }

    /// Whether no open poll was observed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.state == PollState::Quiet
    }

    /// Whether the open poll may become a stall of the program.
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self.state, PollState::Open { .. } | PollState::Excused { .. })
    }

    /// The time of the open poll begins now: what was before had a stall of its own.
    pub(crate) fn start_again(&mut self, now: Nanos, threshold: Nanos) {
        if self.is_undecided() {
            (self.since, self.seen) = (now, now);
            self.state = PollState::Open { due: now + threshold };
        }
    }

    /// How long the open poll has lasted, if it was seen before and evidence can still change
    /// whether it is a stall.
    pub(crate) fn lasts(&self, sequence: u64, now: Nanos) -> Option<Nanos> {
        let same = self.sequence == sequence;
        (same && self.is_undecided()).then(|| now - self.since)
    }

    /// Whether the open poll holds nothing and cannot become a stall.
    pub(crate) fn is_exempt(&self) -> bool {
        self.state == PollState::Exempt
    }

    /// Whether an allowed block is open that holds its worker.
    pub(crate) fn is_allowed(&self) -> bool {
        self.state == PollState::Allowed
    }

    /// When the open poll becomes a stall.
    pub(crate) fn due(&self) -> Option<Nanos> {
        match self.state {
            PollState::Open { due } => Some(due),
            _ => None,
        }
    }

    /// The slot has moved on to `sequence`. Returns how long the stall lasted, if there was one.
    /// `left_at` is when the thread says that the poll ended, if it was asked in time.
    pub(crate) fn close(
        &mut self,
        sequence: u64,
        now: Nanos,
        left_at: Option<Nanos>,
    ) -> Option<Nanos> {
        let was_stall = self.is_stall();
        self.sequence = sequence;
        self.state = PollState::Quiet;
        let end = left_at.unwrap_or(self.seen).clamp(self.seen, now.max(self.seen));
        was_stall.then(|| end - self.since)
    }

    /// A poll is open at this scan.
    pub(crate) fn observe(&mut self, now: Nanos, sample: PollSample) -> PollEvent {
        if self.state == PollState::Quiet || self.sequence != sample.sequence {
            let PollSample { sequence, threshold, holds, .. } = sample;
            let state = match holds {
                Holds::Allowed(_) => PollState::Allowed,
                _ => PollState::Open { due: now + threshold },
            };
            *self = Self { sequence, since: now, seen: now, holds, state };
        }
        if self.state == PollState::Exempt {
            return PollEvent::None;
        }
        if !self.still_holds(sample.holds) {
            let was_stall = self.is_stall();
            self.state = PollState::Exempt;
            let lasted = self.seen - self.since;
            return if was_stall { PollEvent::Ended(lasted) } else { PollEvent::None };
        }
        self.seen = now;
        if self.is_allowed() {
            return PollEvent::None;
        }
        let PollSample { threshold, excused, not_before, .. } = sample;
        let lasted = now - self.since;
        let next = power_above(lasted, threshold);
        let again = |next| match lasted < next {
            true => PollEvent::Lasts(lasted),
            false => PollEvent::Doubled(lasted),
        };
        let event;
        (self.state, event) = match self.state {
            PollState::Counted { next: due } => (PollState::Counted { next }, again(due)),
            _ if lasted.saturating_sub(excused) >= threshold && now >= not_before => {
                (PollState::Counted { next }, PollEvent::Counted(lasted))
            }
            PollState::Excused { next: due } => (PollState::Excused { next }, again(due)),
            // With a smaller share of the environment's it will soon be a stall of its own.
            _ if lasted >= threshold && excused > lasted / 2 => {
                (PollState::Excused { next }, PollEvent::Excused(lasted))
            }
            _ => {
                let due = (self.since + threshold + excused).max(not_before);
                (PollState::Open { due }, PollEvent::None)
            }
        };
        event
    }

    fn still_holds(&self, holds: Holds) -> bool {
        match holds {
            // A worker that has parked or gone on is not in this poll.
            Holds::Worker(now) | Holds::Allowed(now) => self.holds == holds && !now.is_parked(),
            Holds::Root => true,
            Holds::Nothing => false,
        }
    }
}

/// The smallest `threshold` × 2ⁿ above `lasted`, with n ≥ 1.
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
        PollSample { sequence, threshold: 100, holds, excused: 0, not_before: 0 }
    }

    /// Observes one poll at each of the times.
    fn observe(times: &[Nanos], holds: Holds) -> (PollTracker, Vec<PollEvent>) {
        let mut tracker = PollTracker::default();
        let steps = times.iter().map(|now| tracker.observe(*now, sample(1, holds))).collect();
        (tracker, steps)
    }

    #[test]
    fn a_poll_is_a_stall_at_the_threshold_and_reported_again_at_powers_of_two() {
        let (_, steps) =
            observe(&[1000, 1099, 1100, 1150, 1210, 1399, 1900], Holds::Worker(ACTIVE));
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
        let (tracker, _) = observe(&[1000, 1030], Holds::Worker(ACTIVE));
        assert_eq!(tracker.due(), Some(1100));
        let (tracker, _) = observe(&[1000, 1100], Holds::Worker(ACTIVE));
        assert_eq!(tracker.due(), None);
    }

    #[test]
    fn another_poll_starts_again() {
        let (mut tracker, _) = observe(&[1000, 1090], Holds::Worker(ACTIVE));
        assert_eq!(tracker.close(2, 1095, None), None);
        assert_eq!(tracker.observe(1101, sample(3, Holds::Worker(ACTIVE))), PollEvent::None);
        assert_eq!(tracker.since, 1101);
    }

    #[test]
    fn the_end_is_what_the_thread_says_within_what_was_seen() {
        for (left_at, lasted) in [(Some(1130), 130), (None, 120), (Some(1), 120), (Some(9999), 140)]
        {
            let (mut tracker, _) = observe(&[1000, 1100, 1120], Holds::Worker(ACTIVE));
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
            observe(&[1000, 1500], Holds::Worker(parked)).1,
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
        assert_eq!(
            observe(&[1000, 1100], Holds::Root).1,
            [PollEvent::None, PollEvent::Counted(100)]
        );
        assert_eq!(observe(&[1000, 1100], Holds::Nothing).1, [PollEvent::None, PollEvent::None]);
    }

    #[test]
    fn a_late_watchdog_reports_once() {
        let (_, steps) = observe(&[1000, 99_000, 99_001], Holds::Root);
        assert_eq!(steps, [PollEvent::None, PollEvent::Counted(98_000), PollEvent::Lasts(98_001)]);
    }

    /// Observes one poll at each of the times, with so much of it excused.
    fn excused(samples: &[(Nanos, Nanos)]) -> (PollTracker, Vec<PollEvent>) {
        let mut tracker = PollTracker::default();
        let steps = samples.iter().map(|(now, excused)| {
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
    fn a_poll_that_the_environment_held_is_excused_and_may_turn_out_to_be_a_stall() {
        let samples = [(1000, 0), (1110, 80), (1150, 110), (1210, 120), (1250, 120)];
        let (mut tracker, steps) = excused(&samples);
        let expected = [
            PollEvent::None,
            PollEvent::Excused(110),
            PollEvent::Lasts(150),
            PollEvent::Doubled(210),
            PollEvent::Counted(250),
        ];
        assert_eq!(steps, expected);
        assert_eq!(tracker.close(2, 1260, None), Some(250));
        let (mut tracker, _) = excused(&samples[..3]);
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
