//! One scan: reads every slot, counter and pulse, asks the policy, tells the observer.

mod count;
mod runtimes;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::case::Case;
use super::machine::Machine;
use super::policy::{Holds, Sight, Step, Track};
use super::runtime::WatchedRuntime;
use super::stall::{Newly, OpenStall, Requests, Whose, end, heed};
use super::suspect::Still;
use super::{Found, Guardian, Observer};
use crate::causes::Verdict;
use crate::clock::{self, Nanos, nanos};
use crate::detector::hub::Hub;
use crate::detector::markers::{self, ENVIRONMENT, Kind, Marker, UNATTRIBUTED};
use crate::detector::ring::Entry;
use crate::detector::slot::{Open, Reading, Slot};
use crate::record::Cause;

/// What the watchdog carries from scan to scan.
pub(super) struct Scanner {
    hub: Arc<Hub>,
    tick: Nanos,
    guardian: Guardian,
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
    /// Counted once a scan, where somebody wants to know.
    requests: Option<Requests>,
    /// Since when the oldest open poll lasts that may become a stall.
    pub(super) undecided: Nanos,
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

impl Scanner {
    pub(super) fn new(
        hub: Arc<Hub>,
        tick: Duration,
        guardian: Guardian,
        observer: Box<dyn Observer>,
    ) -> Self {
        Self {
            hub,
            tick: nanos(tick),
            guardian,
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
            requests: None,
            undecided: Nanos::MAX,
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
        self.requests = None;
        self.take_stock();
        let mut newly = self.look_at_slots(now);
        newly.extend(self.look_at_workers(now));
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
        for mut watched in gone {
            for worker in &mut watched.workers {
                end(&mut *self.observer, &mut worker.suspect.stall, None);
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

    fn look_at_slots(&mut self, now: Nanos) -> Vec<Newly> {
        for watched in &mut self.runtimes {
            watched.read_workers(now);
        }
        (self.next_due, self.undecided) = (None, Nanos::MAX);
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
        if self.slots[at].stall.is_some() {
            self.look_at_victims(Whose::Slot(at));
        }
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
        let WatchedSlot { slot, track, case, .. } = &self.slots[at];
        Some(Newly {
            whose: Whose::Slot(at),
            runtime: open.identity.place.runtime,
            worker: open.identity.place.worker,
            handler,
            cause: verdict.map_or(Cause::Unknown, cause),
            since: track.since(),
            lasted,
            trace: open.trace,
            is_request: marker.kind == Kind::Request,
            found: Found::in_slot(case.clue(), open.identity.thread, slot, open.sequence),
            taken: None,
        })
    }

    /// Looks at the workers that no slot explains.
    fn look_at_workers(&mut self, now: Nanos) -> Vec<Newly> {
        let mut newly = Vec::new();
        for at in 0..self.runtimes.len() {
            for worker in 0..self.runtimes[at].workers.len() {
                newly.extend(self.look_at_worker(at, worker, now));
            }
            let watched = &mut self.runtimes[at];
            if watched.wants_map(now) {
                self.observer.map_workers(&watched.runtime);
            }
        }
        newly
    }

    fn look_at_worker(&mut self, at: usize, number: usize, now: Nanos) -> Option<Newly> {
        if self.runtimes[at].workers[number].suspect.stall.is_some() {
            self.look_at_victims(Whose::Worker(at, number));
        }
        let thread = self.runtimes[at].stands_still(number, now).and_then(|owner| {
            let elsewhere = self.runtimes.iter().any(|other| other.is_later(owner));
            (!elsewhere).then_some(owner.thread)
        });
        let watched = &mut self.runtimes[at];
        let index = watched.runtime.index;
        let still = thread.map(|thread| Still {
            thread,
            single: watched.runtime.single,
            threshold: self.hub.threshold,
        });
        let worker = &mut watched.workers[number];
        let suspect = &mut worker.suspect;
        let Some(still) = still else {
            let moved = worker.unchanged_since == now;
            if let Some(lasted) = suspect.clear(moved) {
                end(&mut *self.observer, &mut suspect.stall, Some(lasted));
            }
            return None;
        };
        let step = suspect.look(now, still, &mut self.machine, &mut *self.observer);
        heed(&mut *self.observer, &mut suspect.stall, step);
        let (counted, explained) = (suspect.is_counted(), suspect.is_explained());
        let (since, verdict) = (suspect.since(), suspect.verdict());
        if suspect.is_undecided() {
            self.undecided = self.undecided.min(since);
        }
        let whose = u32::try_from(number).ok();
        if counted {
            let cause = suspect.stall.as_ref().map(|stall| stall.entry.cause());
            self.observer.busy(UNATTRIBUTED, now.saturating_sub(self.last_scan));
            watched.tally_stalled(whose, since, now, cause);
        } else if explained {
            watched.excuse(whose);
        }
        let (lasted, handler, cause): (_, _, fn(Verdict) -> Cause) = match step {
            Step::Counted(lasted) => (lasted, UNATTRIBUTED, |verdict| verdict.cause),
            Step::Excused(lasted) => (lasted, ENVIRONMENT, |verdict| verdict.excuse),
            _ => return None,
        };
        let suspect = &watched.workers[number].suspect;
        let blamed = matches!(step, Step::Counted(_));
        Some(Newly {
            whose: Whose::Worker(at, number),
            runtime: index,
            worker: whose,
            handler,
            cause: verdict.map_or(Cause::Unknown, cause),
            since,
            lasted,
            trace: 0,
            is_request: false,
            found: Found::on_worker(suspect.clue(), still.thread),
            taken: if blamed { suspect.taken() } else { None },
        })
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
        if !track.is_counted() {
            self.undecided = self.undecided.min(track.since());
        }
        let runtime = self.runtimes.iter_mut().find(|watched| watched.is_at(open));
        if let Some(runtime) = runtime {
            let worker = open.identity.place.worker;
            if track.is_counted() {
                let stall = self.slots[at].stall.as_ref();
                let cause = stall.map(|stall| stall.entry.cause());
                runtime.tally_stalled(worker, track.since(), now, cause);
            } else if track.is_excused() {
                runtime.excuse(worker);
            }
        }
    }

    /// Tells the observer what has become of the stall of a slot, if it has one.
    fn heed(&mut self, at: usize, step: Step) {
        let WatchedSlot { slot, stall, .. } = &mut self.slots[at];
        if matches!(step, Step::Counted(_) | Step::Excused(_)) {
            slot.want_leave_time();
        }
        heed(&mut *self.observer, stall, step);
    }
}

impl WatchedSlot {
    fn new(slot: &'static Slot) -> Self {
        Self { slot, track: Track::default(), case: Case::default(), stall: None }
    }
}
