//! The part of a scan that is about slots: marked polls.

use super::{Scanner, SlotSequence};
use crate::clock::Nanos;
use crate::labels::{self, LabelSpec, PollKind};
use crate::runtime::registry::Registry;
use crate::slot::LabelId;
use crate::watchdog::events::Event;
use crate::watchdog::open_stall::{NewStall, OpenStall, StallOwner, StalledPoll};
use crate::watchdog::rules::misplaced::MisplacedStep;
use crate::watchdog::rules::poll::Holds;
use crate::watchdog::watched_slot::{OpenMark, OpenMarks, Which};

impl Scanner {
    pub(super) fn scan_slots(&mut self, now: Nanos) -> Vec<NewStall> {
        let mut new_stalls = Vec::new();
        for at in 0..self.sequences.len() {
            let last = &self.sequences[at];
            let sequence = last.slot.sequence();
            // If the thread has polled nothing since, only this number is read.
            if sequence & 1 == 1 || sequence != last.sequence {
                self.is_quiet = false;
                new_stalls.extend(self.scan_slot(at, now));
                self.sequences[at] = SlotSequence::of(&self.slots[at]);
            }
        }
        new_stalls
    }

    fn scan_slot(&mut self, at: usize, now: Nanos) -> Option<NewStall> {
        let Self { slots, runtimes, environment, sampled, events, .. } = self;
        let watched = &mut slots[at];
        if let (Some(stall), Some(requests)) = (&mut watched.stall, &self.requests) {
            stall.count_requests(requests);
            self.has_stalls = true;
        }
        let (poll, seen_at) = watched.read(now, events)?;
        let mut place = poll.identity.place;
        let label = find_label(&mut self.labels, &self.registry, poll.label_id)?;
        // What is nested in an allowed block is allowed too.
        let inner = poll.inner.filter(|_| label.kind != PollKind::Allowed);
        let inner = inner.and_then(|mark| {
            Some((mark, find_label(&mut self.labels, &self.registry, mark.label_id())?))
        });
        let runtime = runtimes.iter_mut().find(|known| known.runtime.index == place.runtime);
        let mut found = None;
        if let Some(runtime) = &runtime
            && place.worker.is_some()
            && label.kind != PollKind::Allowed
            && watched.is_misplaced(&poll, runtime.is_misplaced(&poll))
        {
            let candidate = watched.misplaced.candidate(poll.sequence);
            let sample = runtime.misplaced(&poll, label.threshold, candidate, now);
            match watched.misplaced.update(now, sample) {
                MisplacedStep::Nothing => return None,
                MisplacedStep::Ask(proof) => {
                    events.push(Event::Prove(proof));
                    return None;
                }
                MisplacedStep::Holds(worker) => found = Some(worker),
            }
            place.worker = found.and_then(|found| u32::try_from(found.worker).ok());
        }
        let holds = |kind| match (&runtime, found) {
            (Some(runtime), Some(found)) => runtime.holds_found(found, poll.identity.thread),
            (Some(_), None) if place.worker.is_some() && watched.is_lost(&poll) => Holds::Nothing,
            (Some(runtime), None) => runtime.holds(&poll, kind),
            (None, _) => Holds::without_worker(kind),
        };
        let outer = OpenMark {
            number: poll.sequence,
            threshold: label.threshold,
            holds: holds(label.kind),
            not_before: 0,
        };
        let inner_mark = inner.map(|(mark, label)| OpenMark {
            number: mark.number(),
            threshold: label.threshold,
            holds: holds(label.kind),
            not_before: 0,
        });
        let thread = poll.identity.thread;
        let part_of = poll.part_of;
        let marks = OpenMarks { seen_at, thread, part_of, poll: outer, inner: inner_mark };
        if found.is_some() {
            watched.place(marks, environment);
        }
        let (which, event) = watched.observe(marks, environment, events);
        let innermost = inner.map_or(label, |(_, label)| label);
        let tracker = watched.tracker();
        if tracker.is_allowed() {
            if let Some(runtime) = runtime {
                runtime.add_allowed(place.worker, tracker.since);
            }
        } else if !tracker.is_exempt() {
            events.push(Event::HandlerBusy { handler: innermost.label, time: *sampled });
            watched.undecided().for_each(|tracker| self.open_polls.add(tracker));
            if let Some(runtime) = runtime {
                runtime.add_poll(now, place.worker, tracker, watched.stall.as_ref());
            }
        }
        let since = tracker.since;
        OpenStall::follow(&mut watched.stall, event, now, environment, events);
        NewStall::begins(event, || StalledPoll {
            owner: StallOwner::Slot(at),
            place,
            label: if which == Which::Inner { innermost.label } else { label.label },
            since,
            trace: poll.trace,
            is_request: [label.kind, innermost.kind].contains(&PollKind::Request),
            thread: watched.thread(&poll, which),
            stack: None,
        })
    }
}

/// The label of that number, which may be new.
fn find_label(known: &mut Vec<LabelSpec>, registry: &Registry, id: LabelId) -> Option<LabelSpec> {
    labels::find(known, id).or_else(|| {
        registry.labels.update(known);
        labels::find(known, id)
    })
}
