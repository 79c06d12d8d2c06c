//! One scan: reads every slot, counter and pulse, asks the policy, tells the observer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::Observer;
use super::case::Case;
use super::freeze::{Freeze, Look};
use super::machine::Machine;
use super::policy::{Holds, Sight, Step, Track};
use crate::causes::Verdict;
use crate::clock::{self, Nanos, nanos};
use crate::detector::hub::Hub;
use crate::detector::markers::{self, ENVIRONMENT, Kind, Marker};
use crate::detector::pulse::State;
use crate::detector::ring::Entry;
use crate::detector::runtime::{Counters, Meter, Runtime};
use crate::detector::slot::{Open, Reading, Slot};
use crate::record::{Cause, Stall};

/// What the watchdog carries from scan to scan.
pub(super) struct Scanner {
    hub: Arc<Hub>,
    tick: Nanos,
    observer: Box<dyn Observer>,
    version: u64,
    markers: Vec<Marker>,
    slots: Vec<WatchedSlot>,
    /// The same slots side by side, for the walk past those that are quiet.
    walk: Vec<Passed>,
    runtimes: Vec<WatchedRuntime>,
    machine: Machine,
    /// Stalls that are not in the ring yet.
    unfiled: Vec<Arc<Entry>>,
    last_id: u64,
    last_scan: Nanos,
    next_due: Option<Nanos>,
}

struct WatchedSlot {
    slot: &'static Slot,
    track: Track,
    case: Case,
    stall: Option<OpenStall>,
}

/// A slot and the number it was left with.
struct Passed {
    slot: &'static Slot,
    sequence: u64,
}

/// A stall that is counted and not over.
struct OpenStall {
    entry: Arc<Entry>,
    /// How much of its time the observer knows of.
    told: Nanos,
}

struct WatchedRuntime {
    runtime: Arc<Runtime>,
    meter: Option<Meter>,
    workers: Vec<WatchedWorker>,
    freeze: Freeze,
    lags_seen: u64,
    tally: Tally,
}

#[derive(Clone, Copy, Default)]
struct WatchedWorker {
    counters: Counters,
    unchanged_since: Nanos,
    /// Its slot explains why it does not come round.
    explained: bool,
}

/// What one scan finds in one runtime.
#[derive(Clone, Copy, Default)]
struct Tally {
    stalled: usize,
    /// When the last of them began.
    stalled_since: Nanos,
    oldest: Nanos,
    /// Why the oldest is stalled.
    cause: Option<Cause>,
    allowed: bool,
}

/// A poll that has just become a stall.
struct Newly {
    slot: usize,
    open: Open,
    handler: &'static str,
    cause: Cause,
    lasted: Nanos,
}

impl Scanner {
    pub(super) fn new(hub: Arc<Hub>, tick: Duration, observer: Box<dyn Observer>) -> Self {
        Self {
            hub,
            tick: nanos(tick),
            observer,
            version: 0,
            markers: Vec::new(),
            slots: Vec::new(),
            walk: Vec::new(),
            runtimes: Vec::new(),
            machine: Machine::default(),
            unfiled: Vec::new(),
            last_id: 0,
            last_scan: clock::now(),
            next_due: None,
        }
    }

    /// The shortest threshold any marker has.
    pub(super) fn shortest_threshold(&self) -> Nanos {
        self.hub.markers.shortest_threshold()
    }

    /// When an open poll will be a stall, the earliest first.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.next_due
    }

    pub(super) fn scan(&mut self, now: Nanos, late: Nanos) {
        self.machine.scan(now, late);
        self.take_stock();
        let newly = self.look_at_slots(now);
        for newly in newly {
            self.count(newly);
        }
        self.look_at_runtimes(now);
        self.hub.ring.take_over(&mut self.unfiled);
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
        ended.for_each(|watched| self.hub.remove_runtime(&watched.runtime));
        let version = self.hub.version();
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
            .hub
            .slots()
            .into_iter()
            .map(|slot| known.remove(&address(slot)).unwrap_or_else(|| WatchedSlot::new(slot)))
            .collect();
        let passed = |watched: &WatchedSlot| Passed {
            slot: watched.slot,
            sequence: watched.track.sequence(),
        };
        self.walk = self.slots.iter().map(passed).collect();
        for mut gone in known.into_values() {
            end(&mut *self.observer, &mut gone.stall, None);
        }
    }

    fn take_stock_of_runtimes(&mut self) {
        let current = self.hub.runtimes();
        let is_current = |watched: &WatchedRuntime| {
            current.iter().any(|runtime| runtime.index == watched.runtime.index)
        };
        let (kept, gone) = std::mem::take(&mut self.runtimes).into_iter().partition(is_current);
        self.runtimes = kept;
        for watched in gone {
            self.observer.runtime_ended(&watched.runtime);
        }
        for runtime in current {
            if self.runtimes.iter().all(|watched| watched.runtime.index != runtime.index) {
                self.observer.runtime_appeared(&runtime);
                self.runtimes.push(WatchedRuntime::new(runtime));
            }
        }
    }

    fn look_at_slots(&mut self, now: Nanos) -> Vec<Newly> {
        for watched in &mut self.runtimes {
            watched.read_workers(now);
        }
        self.next_due = None;
        let mut newly = Vec::new();
        for at in 0..self.walk.len() {
            let passed = &self.walk[at];
            let sequence = passed.slot.sequence();
            if sequence & 1 == 1 || sequence != passed.sequence {
                newly.extend(self.look_at_slot(at, now));
                self.walk[at].sequence = self.slots[at].track.sequence();
            }
        }
        newly
    }

    fn look_at_slot(&mut self, at: usize, now: Nanos) -> Option<Newly> {
        let WatchedSlot { slot, track, stall, .. } = &mut self.slots[at];
        let reading = slot.read();
        let (Reading::Between(sequence) | Reading::Open(Open { sequence, .. })) = reading;
        // Polls that begin are timed after they were seen, so that none is made longer.
        let mut seen_at = now;
        if sequence != track.sequence() {
            seen_at = clock::now();
            // Whoever polls may have another worker by its next poll.
            slot.ask();
            let left_at = slot.left_at(track.sequence());
            if let Some(lasted) = track.close(sequence, seen_at, left_at) {
                end(&mut *self.observer, stall, Some(lasted));
            }
        }
        let Reading::Open(open) = reading else { return None };
        let marker = self.marker(open.marker)?;
        let runtime = self.runtimes.iter_mut().find(|watched| watched.is_at(&open));
        let holds = match runtime {
            Some(runtime) => runtime.holds(&open, marker.kind),
            None if marker.kind == Kind::Root => Holds::Root,
            None => Holds::Nothing,
        };
        let excused = match holds {
            Holds::Nothing => 0,
            _ => self.excused(at, &open, seen_at, marker.threshold),
        };
        let sight = Sight { sequence, threshold: marker.threshold, holds, excused };
        let step = self.slots[at].track.look(seen_at, sight);
        self.weigh(at, now, &open, marker);
        self.heed(at, step);
        let verdict = self.slots[at].case.verdict();
        let (lasted, handler, cause): (_, _, fn(Verdict) -> Cause) = match step {
            Step::Counted(lasted) => (lasted, marker.label, |verdict| verdict.cause),
            Step::Excused(lasted) => (lasted, ENVIRONMENT, |verdict| verdict.excuse),
            _ => return None,
        };
        let cause = verdict.map_or(Cause::Unknown, cause);
        Some(Newly { slot: at, open, handler, cause, lasted })
    }

    /// How much of the time of an open poll was not its doing.
    fn excused(&mut self, at: usize, open: &Open, now: Nanos, threshold: Nanos) -> Nanos {
        let WatchedSlot { track, case, .. } = &mut self.slots[at];
        let thread = open.identity.thread;
        match track.lasts(open.sequence, now) {
            Some(lasted) if lasted >= threshold => {
                case.weigh(now, lasted, thread, &mut self.machine)
            }
            Some(_) => case.look(now, thread, &mut self.machine),
            None => {
                if !track.is_counted() {
                    *case = Case::open(&self.machine);
                }
                0
            }
        }
    }

    /// What a number stands for.
    fn marker(&mut self, number: u32) -> Option<Marker> {
        markers::find(&self.markers, number).or_else(|| {
            self.hub.markers.update(&mut self.markers);
            markers::find(&self.markers, number)
        })
    }

    /// Adds an open poll to what this scan sums up.
    fn weigh(&mut self, at: usize, now: Nanos, open: &Open, marker: Marker) {
        let track = &self.slots[at].track;
        if track.is_exempt() {
            return;
        }
        self.observer.busy(marker.label, now.saturating_sub(self.last_scan));
        if let Some(due) = track.due() {
            self.next_due = Some(self.next_due.map_or(due, |next| next.min(due)));
        }
        let runtime = self.runtimes.iter_mut().find(|watched| watched.is_at(open));
        if let Some(runtime) = runtime {
            let worker = open.identity.place.worker;
            if track.is_counted() {
                let stall = self.slots[at].stall.as_ref();
                let cause = stall.map(|stall| stall.entry.cause());
                runtime.tally_stalled(worker, track.since(), now, cause);
            } else if track.is_excused() {
                runtime.explain(worker);
            }
        }
    }

    /// Tells the observer what has become of the stall of a slot, if it has one.
    fn heed(&mut self, at: usize, step: Step) {
        let WatchedSlot { slot, stall, .. } = &mut self.slots[at];
        match step {
            Step::None => {}
            Step::Counted(_) | Step::Excused(_) => slot.want_leave_time(),
            Step::Ended(lasted) => end(&mut *self.observer, stall, Some(lasted)),
            Step::Lasts(lasted) | Step::Doubled(lasted) => {
                tell_time(&mut *self.observer, stall, lasted);
                if let (Step::Doubled(_), Some(stall)) = (step, stall) {
                    self.observer.continues(&stall.entry);
                }
            }
        }
    }

    /// Makes the record of a stall.
    fn count(&mut self, newly: Newly) {
        let worker = newly.open.identity.place.worker;
        let runtime = self.runtimes.iter().find(|watched| watched.is_at(&newly.open));
        let WatchedSlot { track, case, stall, .. } = &mut self.slots[newly.slot];
        let since = track.since();
        let clue = case.clue(newly.open.identity.thread);
        // An excused one that turned out to be a stall goes on under its number.
        let id = stall.take().map_or(self.last_id + 1, |excused| excused.entry.id());
        self.last_id = self.last_id.max(id);
        let slots = self.slots.iter().map(|watched| watched.slot);
        let entry = Arc::new(Entry::new(Stall {
            id,
            runtime: runtime.map_or("none", |watched| watched.runtime.name),
            worker: worker.map(|worker| worker as usize),
            handler: newly.handler,
            cause: newly.cause,
            detail: None,
            started_at: clock::wall(since),
            duration: Duration::from_nanos(newly.lasted),
            in_progress: true,
            workers: runtime.map_or(0, |watched| watched.runtime.workers),
            workers_stalled: runtime.map_or(0, |watched| watched.tally.stalled),
            requests_in_flight: self.hub.requests_in_flight(slots),
            trace_id: (newly.open.trace != 0).then_some(newly.open.trace),
        }));
        // First of all: who hears of a stall finds it in the ring.
        self.unfiled.push(Arc::clone(&entry));
        self.hub.ring.take_over(&mut self.unfiled);
        self.observer.counted(&entry, clue);
        let stall = &mut self.slots[newly.slot].stall;
        *stall = Some(OpenStall { entry, told: 0 });
        tell_time(&mut *self.observer, stall, newly.lasted);
    }

    fn look_at_runtimes(&mut self, now: Nanos) {
        let (tick, threshold) = (self.tick, self.hub.threshold);
        let environment = self.machine.cause_of(now.saturating_sub(self.last_scan));
        for watched in &mut self.runtimes {
            let name = watched.runtime.name;
            let pulse = &watched.runtime.pulse;
            if pulse.state() == State::Waiting && now >= pulse.due() {
                pulse.nudge();
            }
            let observer = &mut *self.observer;
            let lost = pulse.lags(&mut watched.lags_seen, |lag| observer.lag(name, lag));
            if lost > 0 {
                observer.lags_lost(lost);
            }
            let look = watched.look(tick, threshold);
            for lag in watched.freeze.missing(now, look) {
                observer.lag(name, lag);
            }
            let frozen = watched.freeze.frozen(now, look);
            if frozen > 0 {
                let cause = watched.tally.cause.or(environment).unwrap_or(Cause::Unknown);
                observer.frozen(name, cause, frozen);
            }
            watched.set_gauges(now, threshold);
        }
    }
}

/// Tells the observer how much longer the stall is than it knows.
fn tell_time(observer: &mut dyn Observer, stall: &mut Option<OpenStall>, lasted: Nanos) {
    if let Some(stall) = stall {
        stall.entry.last(lasted);
        observer.stalled(&stall.entry, lasted.saturating_sub(stall.told));
        stall.told = stall.told.max(lasted);
    }
}

/// Closes the record; `lasted` is how long it was in all, if that is more than is known.
fn end(observer: &mut dyn Observer, stall: &mut Option<OpenStall>, lasted: Option<Nanos>) {
    if let Some(lasted) = lasted {
        tell_time(observer, stall, lasted);
    }
    if let Some(stall) = stall.take() {
        stall.entry.end(stall.told);
        observer.ended(&stall.entry);
    }
}

impl WatchedSlot {
    fn new(slot: &'static Slot) -> Self {
        Self { slot, track: Track::default(), case: Case::default(), stall: None }
    }
}

impl WatchedRuntime {
    fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            meter: runtime.meter(),
            workers: vec![WatchedWorker::default(); runtime.workers],
            freeze: Freeze::default(),
            lags_seen: 0,
            tally: Tally::default(),
            runtime,
        }
    }

    fn read_workers(&mut self, now: Nanos) {
        self.tally = Tally::default();
        let Some(meter) = &self.meter else { return };
        for (at, worker) in self.workers.iter_mut().enumerate() {
            worker.explained = false;
            let counters = meter.counters(at);
            if counters != worker.counters || worker.unchanged_since == 0 {
                (worker.counters, worker.unchanged_since) = (counters, now);
            }
        }
    }

    fn is_at(&self, open: &Open) -> bool {
        self.runtime.index == open.identity.place.runtime
    }

    /// What an open poll of this runtime holds up.
    fn holds(&mut self, open: &Open, kind: Kind) -> Holds {
        let place = open.identity.place;
        let (Some(worker), Some(meter)) = (place.worker, &self.meter) else {
            return if kind == Kind::Root { Holds::Root } else { Holds::Nothing };
        };
        let at = worker as usize;
        if self.runtime.is_lost(at, open.identity.thread, open.identity.claim) {
            return Holds::Nothing;
        }
        if kind == Kind::Allowed {
            self.tally.allowed = true;
            self.workers[at].explained = true;
            return Holds::Nothing;
        }
        // Read after the slot: what the worker did before the poll is in the counters then.
        Holds::Worker(meter.counters(at))
    }

    fn tally_stalled(
        &mut self,
        worker: Option<u32>,
        since: Nanos,
        now: Nanos,
        cause: Option<Cause>,
    ) {
        let age = now.saturating_sub(since);
        if age >= self.tally.oldest {
            (self.tally.oldest, self.tally.cause) = (age, cause);
        }
        self.explain(worker);
        if worker.is_some() {
            self.tally.stalled += 1;
            self.tally.stalled_since = self.tally.stalled_since.max(since);
        }
    }

    /// It is known why that worker does not come round.
    fn explain(&mut self, worker: Option<u32>) {
        if let Some(worker) = worker {
            self.workers[worker as usize].explained = true;
        }
    }

    fn look(&self, tick: Nanos, threshold: Nanos) -> Look {
        let ticking = self.runtime.pulse.state() == State::Ticking;
        let all_stalled = self.tally.stalled >= self.runtime.workers;
        Look {
            due: ticking.then(|| self.runtime.pulse.due()),
            beat: self.runtime.pulse.beat(),
            tick,
            threshold,
            driven: !self.runtime.single,
            all_stalled_since: all_stalled.then_some(self.tally.stalled_since),
            allowed: self.tally.allowed,
        }
    }

    fn set_gauges(&self, now: Nanos, threshold: Nanos) {
        let saturated = self.workers.iter().filter(|worker| {
            let unchanged = now.saturating_sub(worker.unchanged_since);
            let counters = worker.counters;
            !self.runtime.single
                && unchanged >= threshold
                && !(counters.is_parked() || counters.is_fresh() || worker.explained)
        });
        let gauges = &self.runtime.gauges;
        gauges.saturated.store(saturated.count() as u32, Relaxed);
        gauges.stalled.store(self.tally.stalled as u32, Relaxed);
        gauges.oldest.store(self.tally.oldest, Relaxed);
    }
}
