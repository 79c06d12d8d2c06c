//! One scan: reads every slot, counter and pulse, asks the policy, tells the observer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::case::Case;
use super::machine::Machine;
use super::policy::{Holds, Sight, Step, Track};
use super::runtime::WatchedRuntime;
use super::{Found, Observer};
use crate::causes::Verdict;
use crate::clock::{self, Nanos, nanos};
use crate::detector::hub::Hub;
use crate::detector::markers::{self, ENVIRONMENT, Kind, Marker};
use crate::detector::pulse::State;
use crate::detector::ring::Entry;
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
        // Before anybody hears of a stall: who then asks finds it in the gauges.
        for watched in &self.runtimes {
            watched.set_gauges(now, self.hub.threshold);
        }
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
        let WatchedSlot { slot, track, case, stall } = &mut self.slots[newly.slot];
        let since = track.since();
        let thread = newly.open.identity.thread;
        let found = Found { clue: case.clue(), thread, slot, sequence: newly.open.sequence };
        // An excused one that turned out to be a stall goes on under its number; the time that was
        // the environment's stays there.
        let excused = stall.take().map(|excused| (excused.entry.id(), excused.told));
        let (id, told) = excused.unwrap_or((self.last_id + 1, 0));
        self.last_id = self.last_id.max(id);
        let slots = self.slots.iter().map(|watched| watched.slot);
        let entry = Arc::new(Entry::new(Stall {
            id,
            runtime: runtime.map_or("none", |watched| watched.runtime.name),
            worker: worker.map(|worker| worker as usize),
            handler: newly.handler,
            cause: newly.cause,
            detail: None,
            site: None,
            stack: None,
            stack_missing: None,
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
        self.observer.counted(&entry, found);
        let stall = &mut self.slots[newly.slot].stall;
        *stall = Some(OpenStall { entry, told });
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
