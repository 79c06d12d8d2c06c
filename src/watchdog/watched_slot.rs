//! What the watchdog knows of one slot: the open poll as a whole, and the innermost nested mark in it.
//! Each has a time and a threshold of its own, and one of them at most has a stall.
//!
//! The innermost one that has reached its threshold is the stall. The poll waits for a nested mark that
//! has lasted for half of its threshold: that one is to blame for most of the time. When a nested mark
//! with a stall is left, its stall ends, and the time of the poll starts again.

use super::environment::Environment;
use super::events::{Events, StalledThread};
use super::evidence::EvidenceLog;
use super::open_stall::OpenStall;
use super::rules::misplaced::MisplacedPoll;
use super::rules::poll::{Holds, PollEvent, PollSample, PollTracker};
use crate::clock::{self, Nanos};
use crate::runtime::WorkerCounters;
use crate::slot::{OpenPoll, Slot, SlotReading};

pub(super) struct WatchedSlot {
    pub(super) slot: &'static Slot,
    poll: WatchedMark,
    inner: WatchedMark,
    pub(super) misplaced: MisplacedPoll,
    /// The poll that was seen last, and the counters of its worker when it was seen first.
    begun: (u64, Option<WorkerCounters>),
    /// The poll that is known to hold no worker, or not the one that its thread said it runs.
    lost: u64,
    pub(super) stall: Option<OpenStall>,
}

/// What is known of a mark since the first scan that saw it.
#[derive(Default)]
struct WatchedMark {
    tracker: PollTracker,
    evidence: EvidenceLog,
}

/// An open mark at one scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenMark {
    /// The same at two scans if it is the same mark.
    pub(super) number: u64,
    pub(super) threshold: Nanos,
    pub(super) holds: Holds,
    /// It is no stall before that time.
    pub(super) not_before: Nanos,
}

/// The marks of an open poll at one scan.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenMarks {
    pub(super) seen_at: Nanos,
    /// The kernel's number of the thread.
    pub(super) thread: u32,
    /// The number of the first part of the poll: that of the whole.
    pub(super) part_of: u64,
    pub(super) poll: OpenMark,
    /// The innermost nested one.
    pub(super) inner: Option<OpenMark>,
}

/// Which mark an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Poll,
    Inner,
}

impl WatchedSlot {
    pub(super) fn new(slot: &'static Slot) -> Self {
        Self {
            slot,
            poll: WatchedMark::default(),
            inner: WatchedMark::default(),
            misplaced: MisplacedPoll::default(),
            begun: (0, None),
            lost: 0,
            stall: None,
        }
    }

    /// The sequence number of the poll that was seen last.
    pub(super) fn sequence(&self) -> u64 {
        self.poll.tracker.sequence
    }

    /// Reads the slot and ends the stall of a poll that is over. Returns the open poll, and when it
    /// was seen.
    pub(super) fn read(&mut self, now: Nanos, events: &mut Events) -> Option<(OpenPoll, Nanos)> {
        let reading = self.slot.read();
        let (SlotReading::Between(sequence) | SlotReading::Open(OpenPoll { sequence, .. })) =
            reading;
        let mut seen_at = now;
        if sequence != self.sequence() {
            // The clock is read after the slot, so that no new poll seems longer than it is.
            seen_at = clock::now();
            // The thread may run another worker at its next poll.
            self.slot.ask();
            let left_at = self.slot.left_at(self.sequence());
            let of_inner = self.is_of_inner();
            let inner = self.inner.tracker.close(0, seen_at, left_at);
            let poll = self.poll.tracker.close(sequence, seen_at, left_at);
            if let Some(lasted) = if of_inner { inner } else { poll } {
                OpenStall::end(&mut self.stall, lasted, events);
            }
        }
        match reading {
            SlotReading::Open(open) => Some((open, seen_at)),
            SlotReading::Between(_) => None,
        }
    }

    /// Collects evidence about the open marks, and decides whether one of them is a stall.
    pub(super) fn observe(
        &mut self,
        mut open: OpenMarks,
        environment: &mut Environment,
        events: &mut Events,
    ) -> (Which, PollEvent) {
        let counters = open.poll.holds.counters();
        if self.begun.0 != open.part_of {
            self.begun = (open.part_of, counters);
        } else if self.begun.1 != counters {
            // Also where it moved between two parts of the poll.
            open.poll.holds = Holds::Nothing;
        }
        let number = open.inner.map_or(0, |inner| inner.number);
        let was_of_inner = self.is_of_inner();
        if self.inner.tracker.sequence != number
            && let Some(lasted) = self.inner.tracker.close(number, open.seen_at, None)
            && was_of_inner
        {
            OpenStall::end(&mut self.stall, lasted, events);
            self.poll.tracker.start_again(open.seen_at, open.poll.threshold);
            self.poll.evidence = EvidenceLog::begin(environment);
        }
        if let Some(inner) = open.inner
            && !self.poll.tracker.is_counted()
        {
            let was_of_inner = self.is_of_inner();
            let event = self.inner.observe(&open, inner, environment);
            if was_of_inner || self.is_of_inner() {
                // The poll has lost its worker with the mark in it.
                if self.inner.tracker.is_exempt() {
                    self.observe_poll(&open, environment);
                }
                return (Which::Inner, self.timed(event));
            }
            open.poll.not_before = self.inner_is_due(&open, inner);
        }
        let event = self.observe_poll(&open, environment);
        (Which::Poll, self.timed(event))
    }

    fn observe_poll(&mut self, open: &OpenMarks, environment: &mut Environment) -> PollEvent {
        let event = self.poll.observe(open, open.poll, environment);
        if self.poll.tracker.is_exempt() {
            self.lost = open.part_of;
            self.misplaced.lose(open.poll.number);
        }
        event
    }

    /// Whether the open poll may hold another worker than its thread said: that one was seen
    /// `elsewhere`, or has gone on, and the poll has not held it at an earlier scan.
    pub(super) fn is_misplaced(&self, open: &OpenPoll, elsewhere: bool) -> bool {
        let tracker = &self.poll.tracker;
        let is_new = tracker.sequence != open.sequence || tracker.is_quiet();
        (is_new && elsewhere) || self.is_lost(open) || self.misplaced.is_found(open.sequence)
    }

    /// Whether the open poll is known not to hold the worker that its thread said it runs. The parts of it
    /// before, in and after an allowed block are one poll.
    pub(super) fn is_lost(&self, open: &OpenPoll) -> bool {
        self.lost == open.part_of
    }

    /// It is known which worker the poll holds: its time counts from when it was found misplaced.
    pub(super) fn place(&mut self, marks: OpenMarks, environment: &mut Environment) {
        if self.poll.tracker.is_quiet() || self.poll.tracker.is_exempt() {
            self.poll.tracker.close(marks.poll.number, marks.seen_at, None);
            self.begun = (marks.part_of, marks.poll.holds.counters());
            let first = OpenMarks { seen_at: self.misplaced.since, inner: None, ..marks };
            self.poll.observe(&first, first.poll, environment);
        }
    }

    /// Asks for the end of a stall.
    fn timed(&self, event: PollEvent) -> PollEvent {
        if matches!(event, PollEvent::Counted(_) | PollEvent::Excused(_)) {
            self.slot.want_leave_time();
        }
        event
    }

    /// Whether the stall, if there is one, is that of the nested mark. Where the environment is to blame for
    /// the time of both, it stays that of the poll if that was first.
    fn is_of_inner(&self) -> bool {
        let Self { poll, inner, .. } = self;
        inner.tracker.is_counted() || (inner.tracker.is_stall() && !poll.tracker.is_excused())
    }

    /// When the nested mark becomes a stall, if the poll has to wait for that.
    fn inner_is_due(&self, open: &OpenMarks, inner: OpenMark) -> Nanos {
        let waits = inner.threshold <= open.poll.threshold
            && open.seen_at - self.inner.tracker.since >= inner.threshold / 2;
        self.inner.tracker.due().filter(|_| waits).unwrap_or(0)
    }

    /// The mark that is the stall, or the poll.
    pub(super) fn tracker(&self) -> &PollTracker {
        if self.is_of_inner() { &self.inner.tracker } else { &self.poll.tracker }
    }

    /// The marks that may become a stall. While the nested one is a stall, also one of the environment, the
    /// poll is none.
    pub(super) fn undecided(&self) -> impl Iterator<Item = &PollTracker> {
        let Self { poll, inner, .. } = self;
        let is_decided = poll.tracker.is_counted();
        let poll = (!self.is_of_inner()).then_some(&poll.tracker);
        let marks = poll.into_iter().chain([&inner.tracker]);
        marks.filter(move |tracker| !is_decided && tracker.is_undecided())
    }

    pub(super) fn thread(&self, open: &OpenPoll, which: Which) -> StalledThread {
        let mark = if which == Which::Inner { &self.inner } else { &self.poll };
        StalledThread {
            id: open.identity.thread,
            cause_report: mark.evidence.report.clone(),
            poll: Some((self.slot, open.sequence)),
        }
    }
}

impl WatchedMark {
    fn observe(
        &mut self,
        open: &OpenMarks,
        mark: OpenMark,
        environment: &mut Environment,
    ) -> PollEvent {
        let Self { tracker, evidence } = self;
        let OpenMarks { seen_at, thread, .. } = *open;
        let OpenMark { number, threshold, holds, not_before } = mark;
        let excused = match tracker.lasts(number, seen_at) {
            _ if matches!(holds, Holds::Allowed(_) | Holds::Nothing) => 0,
            Some(lasted) if lasted >= threshold => {
                evidence.classify(seen_at, lasted, thread, environment)
            }
            Some(_) => evidence.sample(seen_at, thread, environment),
            None if tracker.is_counted() => 0,
            None => {
                *evidence = EvidenceLog::begin(environment);
                0
            }
        };
        let sample = PollSample { sequence: number, threshold, holds, excused, not_before };
        tracker.observe(seen_at, sample)
    }
}
