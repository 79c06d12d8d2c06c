//! What the watchdog knows of one slot.

use super::environment::Environment;
use super::events::{Events, StalledThread};
use super::evidence::EvidenceLog;
use super::open_stall::OpenStall;
use super::rules::poll::{Holds, PollEvent, PollSample, PollTracker};
use crate::clock::{self, Nanos};
use crate::slot::{OpenPoll, Slot, SlotReading};

pub(super) struct WatchedSlot {
    pub(super) slot: &'static Slot,
    pub(super) tracker: PollTracker,
    evidence: EvidenceLog,
    pub(super) stall: Option<OpenStall>,
}

impl WatchedSlot {
    pub(super) fn new(slot: &'static Slot) -> Self {
        let (tracker, evidence) = (PollTracker::default(), EvidenceLog::default());
        Self { slot, tracker, evidence, stall: None }
    }

    /// Reads the slot and ends the stall of a poll that is over. Returns the open poll, and when it
    /// was seen.
    pub(super) fn read(&mut self, now: Nanos, events: &mut Events) -> Option<(OpenPoll, Nanos)> {
        let reading = self.slot.read();
        let (SlotReading::Between(sequence) | SlotReading::Open(OpenPoll { sequence, .. })) =
            reading;
        let mut seen_at = now;
        if sequence != self.tracker.sequence {
            // The clock is read after the slot, so that no new poll seems longer than it is.
            seen_at = clock::now();
            // The thread may run another worker at its next poll.
            self.slot.ask();
            let left_at = self.slot.left_at(self.tracker.sequence);
            if let Some(lasted) = self.tracker.close(sequence, seen_at, left_at) {
                OpenStall::end(&mut self.stall, lasted, events);
            }
        }
        match reading {
            SlotReading::Open(open) => Some((open, seen_at)),
            SlotReading::Between(_) => None,
        }
    }

    /// Collects evidence about the open poll, and decides whether it is a stall.
    pub(super) fn observe(
        &mut self,
        open: &OpenPoll,
        seen_at: Nanos,
        threshold: Nanos,
        holds: Holds,
        environment: &mut Environment,
    ) -> PollEvent {
        let Self { slot, tracker, evidence, .. } = self;
        let thread = open.identity.thread;
        let excused = match tracker.lasts(open.sequence, seen_at) {
            _ if matches!(holds, Holds::Allowed | Holds::Nothing) => 0,
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
        let sample = PollSample { sequence: open.sequence, threshold, holds, excused };
        let event = tracker.observe(seen_at, sample);
        if matches!(event, PollEvent::Counted(_) | PollEvent::Excused(_)) {
            slot.want_leave_time();
        }
        event
    }

    pub(super) fn thread(&self, open: &OpenPoll) -> StalledThread {
        StalledThread {
            id: open.identity.thread,
            cause_report: self.evidence.report.clone(),
            poll: Some((self.slot, open.sequence)),
        }
    }
}
