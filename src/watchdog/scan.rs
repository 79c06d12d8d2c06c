//! One scan: reads every slot, counter and pulse, asks the policy, tells the observer.

mod count;
mod runtimes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::environment::Environment;
use super::evidence::EvidenceLog;
use super::open_stall::{NewStall, OpenStall, Requests, StallPlace, end, heed};
use super::rules::poll::{Holds, PollEvent, PollSample, PollTracker};
use super::unattributed::StillWorker;
use super::watched_runtime::WatchedRuntime;
use super::{FoundStall, Guardian, Observer};
use crate::cause::Classification;
use crate::clock::{self, Nanos, nanos};
use crate::labels::{self, ENVIRONMENT, LabelSpec, PollKind, UNATTRIBUTED};
use crate::runtime::registry::Registry;
use crate::slot::{LabelId, OpenPoll, Slot, SlotReading};
use crate::stall::Cause;
use crate::stall::LiveStall;

/// What the watchdog carries from scan to scan.
pub(super) struct Scanner {
    registry: Arc<Registry>,
    tick: Nanos,
    guardian: Guardian,
    observer: Box<dyn Observer>,
    version: u64,
    labels: Vec<LabelSpec>,
    slots: Vec<WatchedSlot>,
    /// The same slots side by side, for the walk past those that are quiet.
    walk: Vec<Passed>,
    runtimes: Vec<WatchedRuntime>,
    environment: Environment,
    /// Stalls that are not in the store yet.
    unfiled: Vec<Arc<LiveStall>>,
    last_id: u64,
    last_scan: Nanos,
    next_due: Option<Nanos>,
    /// Counted once a scan, where somebody wants to know.
    requests: Option<Requests>,
    /// Since when the oldest open poll lasts that may become a stall.
    pub(super) undecided: Nanos,
}

struct WatchedSlot {
    slot: &'static Slot,
    tracker: PollTracker,
    evidence: EvidenceLog,
    stall: Option<OpenStall>,
}

/// A slot and the number it was left with.
struct Passed {
    slot: &'static Slot,
    sequence: u64,
}

impl Scanner {
    pub(super) fn new(
        registry: Arc<Registry>,
        tick: Duration,
        guardian: Guardian,
        observer: Box<dyn Observer>,
    ) -> Self {
        Self {
            registry,
            tick: nanos(tick),
            guardian,
            observer,
            version: 0,
            labels: Vec::new(),
            slots: Vec::new(),
            walk: Vec::new(),
            runtimes: Vec::new(),
            environment: Environment::default(),
            unfiled: Vec::new(),
            last_id: 0,
            last_scan: clock::now(),
            next_due: None,
            requests: None,
            undecided: Nanos::MAX,
        }
    }

    /// The shortest threshold any label has.
    pub(super) fn shortest_threshold(&self) -> Nanos {
        self.registry.labels.shortest_threshold()
    }

    /// When an open poll will be a stall, the earliest first.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.next_due
    }

    pub(super) fn scan(&mut self, now: Nanos, late: Nanos) {
        self.environment.scan(now, late);
        self.requests = None;
        self.take_stock();
        let mut new_stall = self.look_at_slots(now);
        new_stall.extend(self.look_at_workers(now));
        // Before anybody hears of a stall: who then asks finds it in the gauges.
        for watched in &self.runtimes {
            watched.set_gauges(now, self.registry.threshold);
        }
        for new_stall in new_stall {
            self.count(new_stall);
        }
        self.look_at_runtimes(now);
        self.file();
        self.observer.scanned(now, late);
        self.last_scan = now;
    }

    /// The last words.
    pub(super) fn finish(&mut self) {
        for watched in std::mem::take(&mut self.runtimes) {
            self.observer.runtime_ended(&watched.runtime);
        }
        self.observer.scanned(clock::now(), 0);
    }

    /// Brings the lists of slots and runtimes up to date.
    fn take_stock(&mut self) {
        let ended = self.runtimes.iter().filter(|watched| watched.runtime.has_ended());
        ended.for_each(|watched| self.registry.remove_runtime(&watched.runtime));
        let version = self.registry.version();
        if version == self.version {
            return;
        }
        self.version = version;
        self.take_stock_of_slots();
        self.take_stock_of_runtimes();
    }

    fn take_stock_of_slots(&mut self) {
        let address = |slot: &'static Slot| std::ptr::from_ref(slot).addr();
        let known = std::mem::take(&mut self.slots);
        let mut known: HashMap<_, _> =
            known.into_iter().map(|watched| (address(watched.slot), watched)).collect();
        self.slots = self
            .registry
            .slots()
            .into_iter()
            .map(|slot| known.remove(&address(slot)).unwrap_or_else(|| WatchedSlot::new(slot)))
            .collect();
        let passed = |watched: &WatchedSlot| Passed {
            slot: watched.slot,
            sequence: watched.tracker.sequence(),
        };
        self.walk = self.slots.iter().map(passed).collect();
        for mut gone in known.into_values() {
            end(&mut *self.observer, &mut gone.stall, None);
        }
    }

    fn take_stock_of_runtimes(&mut self) {
        let current = self.registry.runtimes();
        let is_current = |watched: &WatchedRuntime| {
            current.iter().any(|runtime| runtime.index == watched.runtime.index)
        };
        let (kept, gone) = std::mem::take(&mut self.runtimes).into_iter().partition(is_current);
        self.runtimes = kept;
        for mut watched in gone {
            for worker in &mut watched.workers {
                end(&mut *self.observer, &mut worker.unattributed.stall, None);
            }
            self.observer.runtime_ended(&watched.runtime);
        }
        for runtime in current {
            if self.runtimes.iter().all(|watched| watched.runtime.index != runtime.index) {
                self.observer.runtime_appeared(&runtime);
                self.runtimes.push(WatchedRuntime::new(runtime));
            }
        }
    }

    fn look_at_slots(&mut self, now: Nanos) -> Vec<NewStall> {
        for watched in &mut self.runtimes {
            watched.read_workers(now);
        }
        (self.next_due, self.undecided) = (None, Nanos::MAX);
        let mut new_stall = Vec::new();
        for at in 0..self.walk.len() {
            let passed = &self.walk[at];
            let sequence = passed.slot.sequence();
            if sequence & 1 == 1 || sequence != passed.sequence {
                new_stall.extend(self.look_at_slot(at, now));
                self.walk[at].sequence = self.slots[at].tracker.sequence();
            }
        }
        new_stall
    }

    fn look_at_slot(&mut self, at: usize, now: Nanos) -> Option<NewStall> {
        if self.slots[at].stall.is_some() {
            self.count_victims(StallPlace::Slot(at));
        }
        let WatchedSlot { slot, tracker, stall, .. } = &mut self.slots[at];
        let reading = slot.read();
        let (SlotReading::Between(sequence) | SlotReading::Open(OpenPoll { sequence, .. })) =
            reading;
        // Polls that begin are timed after they were seen, so that none is made longer.
        let mut seen_at = now;
        if sequence != tracker.sequence() {
            seen_at = clock::now();
            // Whoever polls may have another worker by its next poll.
            slot.ask();
            let left_at = slot.left_at(tracker.sequence());
            if let Some(lasted) = tracker.close(sequence, seen_at, left_at) {
                end(&mut *self.observer, stall, Some(lasted));
            }
        }
        let SlotReading::Open(open) = reading else { return None };
        let label = self.label(open.label_id)?;
        let runtime = self.runtimes.iter_mut().find(|watched| watched.is_at(&open));
        let holds = match runtime {
            Some(runtime) => runtime.holds(&open, label.kind),
            None if label.kind == PollKind::Root => Holds::Root,
            None => Holds::Nothing,
        };
        let excused = match holds {
            Holds::Nothing => 0,
            _ => self.excused(at, &open, seen_at, label.threshold),
        };
        let sample = PollSample { sequence, threshold: label.threshold, holds, excused };
        let event = self.slots[at].tracker.observe(seen_at, sample);
        self.weigh(at, now, &open, label);
        self.heed(at, event);
        let classification = self.slots[at].evidence.classification();
        let (lasted, handler, cause): (_, _, fn(Classification) -> Cause) = match event {
            PollEvent::Counted(lasted) => {
                (lasted, label.label, |classification| classification.cause)
            }
            PollEvent::Excused(lasted) => {
                (lasted, ENVIRONMENT, |classification| classification.excuse)
            }
            _ => return None,
        };
        let WatchedSlot { slot, tracker, evidence, .. } = &self.slots[at];
        Some(NewStall {
            place_of: StallPlace::Slot(at),
            runtime: open.identity.place.runtime,
            worker: open.identity.place.worker,
            handler,
            cause: classification.map_or(Cause::Unknown, cause),
            since: tracker.since(),
            lasted,
            trace: open.trace,
            is_request: label.kind == PollKind::Request,
            found: FoundStall::in_slot(
                evidence.cause_report(),
                open.identity.thread,
                slot,
                open.sequence,
            ),
            taken: None,
        })
    }

    /// Looks at the workers that no slot explains.
    fn look_at_workers(&mut self, now: Nanos) -> Vec<NewStall> {
        let mut new_stall = Vec::new();
        for at in 0..self.runtimes.len() {
            for worker in 0..self.runtimes[at].workers.len() {
                new_stall.extend(self.look_at_worker(at, worker, now));
            }
            let watched = &mut self.runtimes[at];
            if watched.wants_map(now) {
                self.observer.map_workers(&watched.runtime);
            }
        }
        new_stall
    }

    fn look_at_worker(&mut self, at: usize, number: usize, now: Nanos) -> Option<NewStall> {
        if self.runtimes[at].workers[number].unattributed.stall.is_some() {
            self.count_victims(StallPlace::Worker(at, number));
        }
        let thread = self.runtimes[at].stands_still(number, now).and_then(|owner| {
            let elsewhere = self.runtimes.iter().any(|other| other.is_later(owner));
            (!elsewhere).then_some(owner.thread)
        });
        let watched = &mut self.runtimes[at];
        let index = watched.runtime.index;
        let still = thread.map(|thread| StillWorker {
            thread,
            single: watched.runtime.single,
            threshold: self.registry.threshold,
        });
        let worker = &mut watched.workers[number];
        let unattributed = &mut worker.unattributed;
        let Some(still) = still else {
            let moved = worker.unchanged_since == now;
            if let Some(lasted) = unattributed.clear(moved) {
                end(&mut *self.observer, &mut unattributed.stall, Some(lasted));
            }
            return None;
        };
        let event = unattributed.look(now, still, &mut self.environment, &mut *self.observer);
        heed(&mut *self.observer, &mut unattributed.stall, event);
        let (counted, explained) = (unattributed.is_counted(), unattributed.is_explained());
        let (since, classification) = (unattributed.since(), unattributed.classification());
        if unattributed.is_undecided() {
            self.undecided = self.undecided.min(since);
        }
        let place_of = u32::try_from(number).ok();
        if counted {
            let cause = unattributed.stall.as_ref().map(|stall| stall.entry.cause());
            self.observer.busy(UNATTRIBUTED, now.saturating_sub(self.last_scan));
            watched.tally_stalled(place_of, since, now, cause);
        } else if explained {
            watched.excuse(place_of);
        }
        let (lasted, handler, cause): (_, _, fn(Classification) -> Cause) = match event {
            PollEvent::Counted(lasted) => {
                (lasted, UNATTRIBUTED, |classification| classification.cause)
            }
            PollEvent::Excused(lasted) => {
                (lasted, ENVIRONMENT, |classification| classification.excuse)
            }
            _ => return None,
        };
        let unattributed = &watched.workers[number].unattributed;
        let blamed = matches!(event, PollEvent::Counted(_));
        Some(NewStall {
            place_of: StallPlace::Worker(at, number),
            runtime: index,
            worker: place_of,
            handler,
            cause: classification.map_or(Cause::Unknown, cause),
            since,
            lasted,
            trace: 0,
            is_request: false,
            found: FoundStall::on_worker(unattributed.cause_report(), still.thread),
            taken: if blamed { unattributed.taken() } else { None },
        })
    }

    /// How much of the time of an open poll was not its doing.
    fn excused(&mut self, at: usize, open: &OpenPoll, now: Nanos, threshold: Nanos) -> Nanos {
        let WatchedSlot { tracker, evidence, .. } = &mut self.slots[at];
        let thread = open.identity.thread;
        match tracker.lasts(open.sequence, now) {
            Some(lasted) if lasted >= threshold => {
                evidence.weigh(now, lasted, thread, &mut self.environment)
            }
            Some(_) => evidence.look(now, thread, &mut self.environment),
            None => {
                if !tracker.is_counted() {
                    *evidence = EvidenceLog::open(&self.environment);
                }
                0
            }
        }
    }

    /// What a number stands for.
    fn label(&mut self, id: LabelId) -> Option<LabelSpec> {
        labels::find(&self.labels, id).or_else(|| {
            self.registry.labels.update(&mut self.labels);
            labels::find(&self.labels, id)
        })
    }

    /// Adds an open poll to what this scan sums up.
    fn weigh(&mut self, at: usize, now: Nanos, open: &OpenPoll, label: LabelSpec) {
        let tracker = &self.slots[at].tracker;
        if tracker.is_exempt() {
            return;
        }
        self.observer.busy(label.label, now.saturating_sub(self.last_scan));
        if let Some(due) = tracker.due() {
            self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        }
        if !tracker.is_counted() {
            self.undecided = self.undecided.min(tracker.since());
        }
        let runtime = self.runtimes.iter_mut().find(|watched| watched.is_at(open));
        if let Some(runtime) = runtime {
            let worker = open.identity.place.worker;
            if tracker.is_counted() {
                let stall = self.slots[at].stall.as_ref();
                let cause = stall.map(|stall| stall.entry.cause());
                runtime.tally_stalled(worker, tracker.since(), now, cause);
            } else if tracker.is_excused() {
                runtime.excuse(worker);
            }
        }
    }

    /// Tells the observer what has become of the stall of a slot, if it has one.
    fn heed(&mut self, at: usize, event: PollEvent) {
        let WatchedSlot { slot, stall, .. } = &mut self.slots[at];
        if matches!(event, PollEvent::Counted(_) | PollEvent::Excused(_)) {
            slot.want_leave_time();
        }
        heed(&mut *self.observer, stall, event);
    }
}

impl WatchedSlot {
    fn new(slot: &'static Slot) -> Self {
        Self {
            slot,
            tracker: PollTracker::default(),
            evidence: EvidenceLog::default(),
            stall: None,
        }
    }
}
