//! One scan, from top to bottom: reads every slot, counter and heartbeat, has the rules decide, files
//! the stalls, and tells what it found.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::environment::Environment;
use super::events::{Event, Events};
use super::open_stall::{NewStall, OpenStall, Requests, RuntimeNow, StallPlace, StalledPoll};
use super::rules::health::HealthAction;
use super::rules::poll::{Holds, PollTracker};
use super::rules::suspicion::StillWorker;
use super::settings::WatchdogSettings;
use super::watched_runtime::{Standing, WatchedRuntime};
use super::watched_slot::WatchedSlot;
use crate::clock::{self, Nanos};
use crate::labels::{self, LabelSpec, PollKind, UNATTRIBUTED};
use crate::runtime::registry::Registry;
use crate::slot::{LabelId, Slot};
use crate::stall::LiveStall;

/// What the watchdog carries from scan to scan.
pub(super) struct Scanner {
    registry: Arc<Registry>,
    settings: WatchdogSettings,
    /// The registry's version of the lists of slots and runtimes.
    version: u64,
    slots: Vec<WatchedSlot>,
    /// The same slots side by side, for the walk past those that are quiet.
    walk: Vec<Passed>,
    runtimes: Vec<WatchedRuntime>,
    labels: Vec<LabelSpec>,
    environment: Environment,
    /// Stalls that are not in the store yet.
    unfiled: Vec<Arc<LiveStall>>,
    last_id: u64,
    last_scan: Nanos,
    open: OpenPolls,
    /// Counted once a scan, where a stall is open.
    requests: Option<Requests>,
    events: Events,
}

/// A slot and the number it was left with.
struct Passed {
    slot: &'static Slot,
    sequence: u64,
}

/// What a scan says of the polls that are not stalls yet.
#[derive(Clone, Copy)]
struct OpenPolls {
    /// When the first of them will be one.
    due: Option<Nanos>,
    /// Since when the oldest lasts of which that is not decided; the latest time there is without.
    undecided_since: Nanos,
}

impl Scanner {
    pub(super) fn new(registry: Arc<Registry>, settings: WatchdogSettings) -> Self {
        Self {
            registry,
            settings,
            version: 0,
            slots: Vec::new(),
            walk: Vec::new(),
            runtimes: Vec::new(),
            labels: Vec::new(),
            environment: Environment::default(),
            unfiled: Vec::new(),
            last_id: 0,
            last_scan: clock::now(),
            open: OpenPolls::NONE,
            requests: None,
            events: Events::default(),
        }
    }

    /// The shortest threshold any label has.
    pub(super) fn shortest_threshold(&self) -> Nanos {
        self.registry.labels.shortest_threshold()
    }

    /// When an open poll will be a stall, the earliest first.
    pub(super) fn next_due(&self) -> Option<Nanos> {
        self.open.due
    }

    /// Since when the oldest open poll lasts that may become a stall.
    pub(super) fn undecided_since(&self) -> Nanos {
        self.open.undecided_since
    }

    /// Scans once; returns what was found.
    pub(super) fn scan(&mut self, now: Nanos, late: Nanos) -> &mut Events {
        self.environment.update(now, late);
        self.update_lists();
        (self.open, self.requests) = (OpenPolls::NONE, None);
        self.runtimes.iter_mut().for_each(|watched| watched.read_workers(now));
        let mut new_stalls = self.scan_slots(now);
        // After the slots: they explain most workers that do not come round.
        new_stalls.extend(self.scan_workers(now));
        self.runtimes.iter().for_each(|watched| watched.publish_workers(now));
        // After both: a record says how many workers are stalled.
        new_stalls.into_iter().for_each(|new| self.open_stall(new));
        self.scan_runtimes(now);
        self.file_stalls();
        self.events.push(Event::Scanned { now, late });
        self.last_scan = now;
        &mut self.events
    }

    // The lists of what to scan.

    fn update_lists(&mut self) {
        let ended = self.runtimes.iter().filter(|watched| watched.runtime.has_ended());
        ended.for_each(|watched| self.registry.remove_runtime(&watched.runtime));
        let version = self.registry.version();
        if version != self.version {
            self.version = version;
            self.update_slots();
            self.update_runtimes();
        }
    }

    fn update_slots(&mut self) {
        let address = |slot: &'static Slot| std::ptr::from_ref(slot).addr();
        let known = std::mem::take(&mut self.slots).into_iter();
        let mut known: HashMap<_, _> =
            known.map(|watched| (address(watched.slot), watched)).collect();
        let slots = self.registry.slots().into_iter();
        let watch = |slot| known.remove(&address(slot)).unwrap_or_else(|| WatchedSlot::new(slot));
        self.slots = slots.map(watch).collect();
        self.walk = self.slots.iter().map(Passed::by).collect();
        for mut gone in known.into_values() {
            OpenStall::end(&mut gone.stall, 0, &mut self.events);
        }
    }

    fn update_runtimes(&mut self) {
        let current = self.registry.runtimes();
        let is_current = |watched: &WatchedRuntime| {
            current.iter().any(|runtime| runtime.index == watched.runtime.index)
        };
        let (kept, gone) = std::mem::take(&mut self.runtimes).into_iter().partition(is_current);
        self.runtimes = kept;
        for worker in gone.into_iter().flat_map(|watched: WatchedRuntime| watched.workers) {
            OpenStall::end(&mut { worker.unattributed.stall }, 0, &mut self.events);
        }
        for runtime in current {
            if self.runtimes.iter().all(|watched| watched.runtime.index != runtime.index) {
                self.events.push(Event::RuntimeAppeared(Arc::clone(&runtime)));
                let (tick, threshold) = (self.settings.tick_interval, self.registry.threshold);
                self.runtimes.push(WatchedRuntime::new(runtime, tick, threshold));
            }
        }
    }

    // Slots: polls that are marked.

    fn scan_slots(&mut self, now: Nanos) -> Vec<NewStall> {
        let mut new_stalls = Vec::new();
        for at in 0..self.walk.len() {
            let passed = &self.walk[at];
            let sequence = passed.slot.sequence();
            // Of a thread that has polled nothing since, only this number is read.
            if sequence & 1 == 1 || sequence != passed.sequence {
                new_stalls.extend(self.scan_slot(at, now));
                self.walk[at] = Passed::by(&self.slots[at]);
            }
        }
        new_stalls
    }

    fn scan_slot(&mut self, at: usize, now: Nanos) -> Option<NewStall> {
        self.count_requests(StallPlace::Slot(at));
        let Self { slots, runtimes, environment, events, .. } = self;
        let watched = &mut slots[at];
        let (poll, seen_at) = watched.read(now, events)?;
        let label = find_label(&mut self.labels, &self.registry, poll.label_id)?;
        let mut runtime = runtimes.iter_mut().find(|watched| watched.is_at(&poll));
        let holds = match &mut runtime {
            Some(runtime) => runtime.holds(&poll, label.kind),
            None => Holds::without_worker(label.kind),
        };
        let event = watched.observe(&poll, seen_at, label.threshold, holds, environment);
        if !watched.tracker.is_exempt() {
            let time = now.saturating_sub(self.last_scan);
            events.push(Event::HandlerBusy { handler: label.label, time });
            self.open.add(&watched.tracker);
            if let Some(runtime) = runtime {
                let standing = Standing::of(&watched.tracker, watched.stall.as_ref());
                runtime.sum_up(now, poll.identity.place.worker, standing);
            }
        }
        OpenStall::follow(&mut watched.stall, event, events);
        NewStall::begins(event, || StalledPoll {
            place: StallPlace::Slot(at),
            runtime: poll.identity.place.runtime,
            worker: poll.identity.place.worker,
            label: label.label,
            since: watched.tracker.since(),
            trace: poll.trace,
            is_request: label.kind == PollKind::Request,
            thread: watched.thread(&poll),
            stack: None,
        })
    }

    // Workers that no slot explains.

    fn scan_workers(&mut self, now: Nanos) -> Vec<NewStall> {
        let mut new_stalls = Vec::new();
        for at in 0..self.runtimes.len() {
            for worker in 0..self.runtimes[at].workers.len() {
                new_stalls.extend(self.scan_worker(at, worker, now));
            }
            self.runtimes[at].map_workers(now, &mut self.events);
        }
        new_stalls
    }

    fn scan_worker(&mut self, at: usize, number: usize, now: Nanos) -> Option<NewStall> {
        self.count_requests(StallPlace::Worker(at, number));
        let still = self.still_worker(at, number, now);
        let Self { runtimes, environment, events, .. } = self;
        let watched = &mut runtimes[at];
        let worker = &mut watched.workers[number];
        let unattributed = &mut worker.unattributed;
        let Some(still) = still else {
            unattributed.clear(worker.unchanged_since == now, events);
            return None;
        };
        let event = unattributed.observe(now, still, environment, events);
        let since = unattributed.tracker().since();
        if unattributed.is_undecided() {
            self.open.undecided_since = self.open.undecided_since.min(since);
        }
        let standing = Standing::of(unattributed.tracker(), unattributed.stall.as_ref());
        if let Standing::Stalled { .. } = standing {
            let time = now.saturating_sub(self.last_scan);
            events.push(Event::HandlerBusy { handler: UNATTRIBUTED, time });
        }
        let index = u32::try_from(number).ok();
        watched.sum_up(now, index, standing);
        let unattributed = &watched.workers[number].unattributed;
        NewStall::begins(event, || StalledPoll {
            place: StallPlace::Worker(at, number),
            runtime: watched.runtime.index,
            worker: index,
            label: UNATTRIBUTED,
            since,
            trace: 0,
            is_request: false,
            thread: unattributed.thread(still.thread),
            stack: unattributed.stack(),
        })
    }

    /// The worker, if it has not come round for no known reason.
    fn still_worker(&self, at: usize, number: usize, now: Nanos) -> Option<StillWorker> {
        let watched = &self.runtimes[at];
        let owner = watched.stands_still(number, now)?;
        // A thread that went on to another worker says nothing of this one.
        let is_elsewhere = self.runtimes.iter().any(|other| other.is_later(owner));
        (!is_elsewhere).then_some(StillWorker {
            thread: owner.thread,
            single: watched.runtime.single,
            threshold: self.registry.threshold,
        })
    }

    // Stalls.

    fn open_stall(&mut self, mut new: NewStall) {
        let in_flight = self.requests().in_flight;
        let runtime =
            self.runtimes.iter().find(|watched| watched.runtime.index == new.poll.runtime);
        let none = RuntimeNow { name: "none", workers: 0, stalled: 0 };
        let runtime = runtime.map_or(none, WatchedRuntime::now);
        let place = new.poll.place;
        // An excused one that turned out to be a stall goes on under its number; the time that was
        // the environment's stays there.
        let excused = self.stall(place).take();
        let id = excused.map_or(self.last_id + 1, |excused| excused.live.id());
        self.last_id = self.last_id.max(id);
        let live = Arc::new(new.record(id, runtime, in_flight));
        self.unfiled.push(Arc::clone(&live));
        *self.stall(place) = Some(OpenStall::new(Arc::clone(&live), &new.poll));
        self.count_requests(place);
        let thread = Box::new(new.poll.thread);
        self.events.push(Event::StallCounted { stall: live, thread });
    }

    /// Moves stalls into the store, and lets it find those that are over, unless a reader holds it
    /// just now.
    fn file_stalls(&mut self) {
        let dropped = self.registry.store.take_over(&mut self.unfiled);
        if dropped > 0 {
            self.registry.suppressed.fetch_add(dropped, Relaxed);
        }
    }

    /// Where the stall is kept.
    fn stall(&mut self, place: StallPlace) -> &mut Option<OpenStall> {
        match place {
            StallPlace::Slot(at) => &mut self.slots[at].stall,
            StallPlace::Worker(at, worker) => {
                &mut self.runtimes[at].workers[worker].unattributed.stall
            }
        }
    }

    /// Counts the requests that a stall holds up, if there is one.
    fn count_requests(&mut self, place: StallPlace) {
        if self.stall(place).is_none() {
            return;
        }
        // Out of the way while the stall is written to.
        self.requests();
        let requests = self.requests.take();
        if let (Some(stall), Some(requests)) = (self.stall(place), &requests) {
            stall.count_requests(requests);
        }
        self.requests = requests;
    }

    /// Requests inside the layer now.
    fn requests(&mut self) -> &Requests {
        let Self { registry, slots, runtimes, requests, .. } = self;
        requests.get_or_insert_with(|| {
            let slots = || slots.iter().map(|watched| watched.slot);
            let of = |watched: &WatchedRuntime| {
                (watched.runtime.index, registry.requests_of(&watched.runtime, slots()))
            };
            Requests {
                in_flight: registry.requests_in_flight(slots()),
                of_runtime: runtimes.iter().map(of).collect(),
            }
        })
    }

    // Runtimes: heartbeat, freezes, health.

    fn scan_runtimes(&mut self, now: Nanos) {
        let time = now.saturating_sub(self.last_scan);
        let environment = &self.environment;
        let cause = environment.cause_of(time);
        for at in 0..self.runtimes.len() {
            let watched = &mut self.runtimes[at];
            watched.read_heartbeat(now, cause, &mut self.events);
            let patience = self.settings.patience;
            let (health, action) = watched.judge_health(now, time, environment, patience);
            if self.settings.rescue {
                watched.rescue(now, environment, &mut self.events);
            }
            if action == HealthAction::Nothing || watched.runtime.status.is_ignored() {
                continue;
            }
            let runtime = Arc::clone(&watched.runtime);
            if action == HealthAction::Ask {
                self.events.push(Event::Ping(runtime));
            } else {
                let stall = self.oldest_stall(runtime.index);
                self.events.push(Event::Dead { runtime, frozen: health.frozen, stall });
            }
        }
    }

    /// The longest stall in progress of a runtime that is the program's.
    fn oldest_stall(&self, runtime: u32) -> Option<Arc<LiveStall>> {
        let of_slots = self.slots.iter().map(|watched| &watched.stall);
        let workers = self.runtimes.iter().flat_map(|watched| &watched.workers);
        let of_workers = workers.map(|worker| &worker.unattributed.stall);
        let open = of_slots.chain(of_workers).flatten().filter(|stall| stall.runtime == runtime);
        let blamed = open.filter(|stall| !stall.live.cause().is_environment());
        blamed.max_by_key(|stall| stall.live.lasted()).map(|stall| Arc::clone(&stall.live))
    }
}

impl Passed {
    fn by(watched: &WatchedSlot) -> Self {
        Self { slot: watched.slot, sequence: watched.tracker.sequence() }
    }
}

impl OpenPolls {
    const NONE: Self = Self { due: None, undecided_since: Nanos::MAX };

    fn add(&mut self, tracker: &PollTracker) {
        if let Some(due) = tracker.due() {
            self.due = Some(self.due.map_or(due, |next| next.min(due)));
        }
        if !tracker.is_counted() {
            self.undecided_since = self.undecided_since.min(tracker.since());
        }
    }
}

/// What an id stands for. The labels are read anew where it is not known.
fn find_label(known: &mut Vec<LabelSpec>, registry: &Registry, id: LabelId) -> Option<LabelSpec> {
    labels::find(known, id).or_else(|| {
        registry.labels.update(known);
        labels::find(known, id)
    })
}
