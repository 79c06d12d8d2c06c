//! One scan, from top to bottom: reads every slot, counter and heartbeat, has the rules decide, files
//! the stalls, and reports what it found.

mod slots;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::environment::Environment;
use super::events::{Event, Events};
use super::open_stall::{NewStall, OpenStall, Requests, StallOwner, StalledPoll};
use super::rules::health::HealthAction;
use super::rules::idle::{IdleStep, IdleTracker};
use super::rules::poll::PollTracker;
use super::rules::suspicion::StillWorker;
use super::settings::WatchdogSettings;
use super::watched_runtime::WatchedRuntime;
use super::watched_slot::WatchedSlot;
use crate::clock::{self, Nanos};
use crate::labels::{LabelSpec, UNATTRIBUTED};
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;
use crate::slot::{Place, Slot};
use crate::stall::LiveStall;

/// What the watchdog carries from scan to scan.
pub(super) struct Scanner {
    registry: Arc<Registry>,
    settings: WatchdogSettings,
    /// The registry's version of the lists of slots and runtimes.
    version: u64,
    slots: Vec<WatchedSlot>,
    /// The same slots side by side, to pass quiet ones quickly.
    sequences: Vec<SlotSequence>,
    runtimes: Vec<WatchedRuntime>,
    labels: Vec<LabelSpec>,
    environment: Environment,
    /// Stalls that are not in the store yet.
    unfiled: Vec<Arc<LiveStall>>,
    last_id: u64,
    pub(super) open_polls: OpenPolls,
    /// Whether a stall is open.
    has_stalls: bool,
    /// Counted at the begin of a scan, if a stall is open.
    requests: Option<Requests>,
    /// Whether no slot has changed and none is open.
    is_quiet: bool,
    sampled: Nanos,
    idle: IdleTracker,
    /// Whether the service was idle until the last scan.
    was_idle: bool,
    events: Events,
}

/// How a scan begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScanStart {
    pub(super) now: Nanos,
    /// How long after it was due.
    pub(super) late: Nanos,
    /// Whether a poll has woken the watchdog for it.
    pub(super) woken: bool,
    /// The time that the scan is a sample of: 0 for one that a poll has caused.
    pub(super) sampled: Nanos,
}

/// A slot, and its sequence number at the last scan.
struct SlotSequence {
    slot: &'static Slot,
    sequence: u64,
}

/// What a scan finds of open polls that are not stalls yet. Both times are the latest possible one
/// if there is no such poll.
#[derive(Clone, Copy)]
pub(super) struct OpenPolls {
    /// When the first of them becomes a stall.
    pub(super) due: Nanos,
    /// When the oldest of those began that may become a stall.
    pub(super) undecided_since: Nanos,
}

impl Scanner {
    pub(super) fn new(registry: Arc<Registry>, settings: WatchdogSettings) -> Self {
        Self {
            registry,
            settings,
            version: 0,
            slots: Vec::new(),
            sequences: Vec::new(),
            runtimes: Vec::new(),
            labels: Vec::new(),
            environment: Environment::new(clock::now()),
            unfiled: Vec::new(),
            last_id: 0,
            open_polls: OpenPolls::NONE,
            has_stalls: false,
            requests: None,
            is_quiet: false,
            sampled: 0,
            idle: IdleTracker::default(),
            was_idle: false,
            events: Events::default(),
        }
    }

    /// A scanner for the time after a panic, of which nothing is known but what others hold. Its first
    /// scan ends the stalls of this one.
    pub(super) fn renewed(mut self) -> Self {
        self.end_stalls();
        let mut renewed = Self::new(Arc::clone(&self.registry), self.settings);
        (renewed.last_id, renewed.unfiled, renewed.events) =
            (self.last_id, self.unfiled, self.events);
        renewed
    }

    /// Ends all open stalls; their ends are the only events left.
    pub(super) fn end_stalls(&mut self) {
        let Self { slots, runtimes, events, registry, .. } = self;
        events.clear();
        let workers = runtimes.iter_mut().flat_map(|watched| &mut watched.workers);
        let of_workers = workers.map(|worker| &mut worker.stall);
        let open = slots.iter_mut().map(|watched| &mut watched.stall).chain(of_workers);
        open.for_each(|stall| OpenStall::end(stall, 0, events));
        registry.wake_up.disarm();
    }

    /// Scans once. Returns what was found.
    pub(super) fn scan(&mut self, start: ScanStart) -> &mut Events {
        let ScanStart { now, late, woken, sampled } = start;
        self.environment.update(now, late, self.idle.is_idle());
        (self.is_quiet, self.sampled) = (!woken, sampled);
        self.update_lists();
        self.open_polls = OpenPolls::NONE;
        self.requests = std::mem::take(&mut self.has_stalls).then(|| self.count_requests());
        self.runtimes.iter_mut().for_each(|watched| watched.read_workers(now));
        let mut new_stalls = self.scan_slots(now);
        // After the slots, which explain most workers that make no progress.
        new_stalls.extend(self.scan_workers(now));
        self.runtimes.iter().for_each(|watched| watched.publish_workers(now));
        // After both: a record says how many workers are stalled.
        self.open_stalls(new_stalls);
        self.scan_runtimes(now);
        self.file_stalls();
        self.set_pace(now);
        self.events.push(Event::Scanned { now, late });
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
        let known = self.slots.drain(..).map(|watched| (address(watched.slot), watched));
        let mut known: HashMap<_, _> = known.collect();
        let slots = self.registry.slots().into_iter();
        let watch = |slot| known.remove(&address(slot)).unwrap_or_else(|| WatchedSlot::new(slot));
        self.slots = slots.map(watch).collect();
        self.sequences = self.slots.iter().map(SlotSequence::of).collect();
        for mut gone in known.into_values() {
            OpenStall::end(&mut gone.stall, 0, &mut self.events);
        }
    }

    fn update_runtimes(&mut self) {
        let mut current = self.registry.runtimes();
        self.runtimes.retain_mut(|watched| {
            let known = current.iter().position(|runtime| runtime.index == watched.runtime.index);
            if let Some(known) = known {
                current.remove(known);
            } else {
                for worker in &mut watched.workers {
                    OpenStall::end(&mut worker.stall, 0, &mut self.events);
                }
            }
            known.is_some()
        });
        for new in current {
            self.events.push(Event::RuntimeAppeared(Arc::clone(&new)));
            self.runtimes.push(WatchedRuntime::new(new, self.settings, self.registry.threshold));
        }
    }

    // Workers that no marked poll explains.

    fn scan_workers(&mut self, now: Nanos) -> Vec<NewStall> {
        let mut new_stalls = Vec::new();
        for runtime in 0..self.runtimes.len() {
            for worker in 0..self.runtimes[runtime].workers.len() {
                if self.runtimes[runtime].workers[worker].suspicion.awaits_names() {
                    new_stalls.extend(self.ended_stall(runtime, worker, now));
                }
                self.scan_worker(runtime, worker, now, &mut new_stalls);
            }
            self.runtimes[runtime].map_workers(now, &mut self.events);
        }
        new_stalls
    }

    /// A stall of the worker that is over and was proven only now.
    fn ended_stall(&mut self, runtime: usize, worker: usize, now: Nanos) -> Option<NewStall> {
        let WatchedRuntime { runtime, workers, .. } = &mut self.runtimes[runtime];
        let (ended, thread) = workers[worker].ended_stall(now)?;
        NewStall::begins(ended.event, || StalledPoll {
            owner: StallOwner::Ended { lasted: ended.lasted },
            place: Place { runtime: runtime.index, worker: u32::try_from(worker).ok() },
            label: UNATTRIBUTED,
            since: ended.since,
            trace: 0,
            is_request: false,
            thread,
            stack: Some(ended.stack),
        })
    }

    fn scan_worker(
        &mut self,
        runtime: usize,
        worker: usize,
        now: Nanos,
        new_stalls: &mut Vec<NewStall>,
    ) {
        let still = self.still_worker(runtime, worker, now);
        let owner = StallOwner::Worker { runtime, worker };
        let Self { runtimes, environment, sampled, events, .. } = self;
        let WatchedRuntime { runtime, workers, totals, .. } = &mut runtimes[runtime];
        let watched = &mut workers[worker];
        if let (Some(stall), Some(requests)) = (&mut watched.stall, &self.requests) {
            stall.count_requests(requests);
            self.has_stalls = true;
        }
        let Some(still) = still else {
            watched.clear(now, self.registry.threshold, events);
            return self.open_polls.add_undecided(watched.suspicion.undecided_since());
        };
        let event = watched.suspect(still, environment, events);
        let (suspicion, stall) = (&watched.suspicion, &mut watched.stall);
        let tracker = &suspicion.tracker;
        self.open_polls.add_undecided(suspicion.undecided_since());
        if tracker.is_counted() {
            events.push(Event::HandlerBusy { handler: UNATTRIBUTED, time: *sampled });
        }
        watched.explained |= totals.add(now, true, tracker, stall.as_ref());
        OpenStall::follow(stall, event, now, environment, events);
        new_stalls.extend(NewStall::begins(event, || StalledPoll {
            owner,
            place: Place { runtime: runtime.index, worker: u32::try_from(worker).ok() },
            label: UNATTRIBUTED,
            since: tracker.since,
            trace: 0,
            is_request: false,
            thread: watched.thread(still.thread),
            stack: suspicion.stack(),
        }));
    }

    /// The worker, if it makes no progress for no known reason.
    fn still_worker(&self, runtime: usize, worker: usize, now: Nanos) -> Option<StillWorker> {
        let watched = &self.runtimes[runtime];
        let owner = watched.still_thread(worker, now)?;
        // A thread that went on to another worker says nothing about this one.
        let is_elsewhere = self.runtimes.iter().any(|other| other.has_taken(owner));
        (!is_elsewhere).then_some(StillWorker {
            now,
            thread: owner.thread,
            single: watched.runtime.single,
            threshold: self.registry.threshold,
            at_once: self.was_idle,
        })
    }

    // Stalls.

    fn open_stalls(&mut self, new_stalls: Vec<NewStall>) {
        if new_stalls.is_empty() {
            return;
        }
        let requests = self.requests.take().unwrap_or_else(|| self.count_requests());
        self.has_stalls = true;
        for NewStall { mut poll, mut record } in new_stalls {
            record.requests_in_flight = requests.in_flight;
            let mut runtimes = self.runtimes.iter();
            if let Some(watched) = runtimes.find(|known| known.runtime.index == poll.place.runtime)
            {
                watched.complete(&mut record);
            }
            let (mut nowhere, mut over) = (None, None);
            let stall = match poll.owner {
                StallOwner::Slot(at) => &mut self.slots[at].stall,
                StallOwner::Worker { runtime, worker } => {
                    &mut self.runtimes[runtime].workers[worker].stall
                }
                StallOwner::Ended { lasted } => {
                    over = Some(lasted);
                    &mut nowhere
                }
            };
            // An excused stall that turned out to be the program's keeps its id. Its time so far stays
            // with the environment.
            record.id = stall.take().map_or(self.last_id + 1, |excused| excused.live.id());
            self.last_id = self.last_id.max(record.id);
            let opened = stall.insert(OpenStall::new(record, &mut poll));
            if over.is_none() {
                opened.count_requests(&requests);
            }
            self.unfiled.push(Arc::clone(&opened.live));
            let (counted, thread) = (Arc::clone(&opened.live), Box::new(poll.thread));
            self.events.push(Event::StallCounted { stall: counted, thread });
            if let Some(lasted) = over {
                OpenStall::end(stall, lasted, &mut self.events);
            }
        }
    }

    /// Moves new stalls to the store, which also finds those that are over. Does nothing while a
    /// reader holds the store.
    fn file_stalls(&mut self) {
        let dropped = self.registry.store.take_over(&mut self.unfiled);
        if dropped > 0 {
            self.registry.suppressed.fetch_add(dropped, Relaxed);
        }
    }

    /// Counts the requests inside the layer.
    fn count_requests(&self) -> Requests {
        let count = |runtime: Option<&Runtime>| {
            let slots = self.slots.iter().map(|watched| watched.slot);
            self.registry.requests_in_flight(runtime, slots)
        };
        let of_runtime =
            |watched: &WatchedRuntime| (watched.runtime.index, count(Some(&*watched.runtime)));
        Requests {
            in_flight: count(None),
            of_runtime: self.runtimes.iter().map(of_runtime).collect(),
        }
    }

    // Runtimes: heartbeat, freezes, health.

    fn scan_runtimes(&mut self, now: Nanos) {
        for at in 0..self.runtimes.len() {
            let Self { runtimes, environment, events, .. } = self;
            let watched = &mut runtimes[at];
            watched.read_ticks(now, environment, events);
            watched.rescue(now, environment, events);
            watched.look_for_shutdown(now, events);
            let action = watched.judge_health(now, environment);
            match action {
                _ if watched.runtime.status.ignored.load(Relaxed) => {}
                HealthAction::Nothing => {}
                HealthAction::Ping => events.push(Event::Ping(Arc::clone(&watched.runtime))),
                HealthAction::ReportDead { frozen } => {
                    let runtime = Arc::clone(&watched.runtime);
                    let stall = self.oldest_stall(runtime.index);
                    self.events.push(Event::Dead { runtime, frozen, stall });
                }
            }
        }
    }

    // The pace.

    /// Slows ticks and scans down while the service is idle.
    fn set_pace(&mut self, now: Nanos) {
        let is_settled = !self.has_stalls && self.open_polls.undecided_since == Nanos::MAX;
        let is_quiet = self.settings.slows_down()
            && self.is_quiet
            && is_settled
            && self.runtimes.iter().all(|watched| watched.is_quiet(now));
        let slots = || self.slots.iter().map(|watched| watched.slot);
        let wake_up = &self.registry.wake_up;
        let step = self.idle.update(now, is_quiet);
        self.was_idle = step == IdleStep::SpeedUp;
        match step {
            IdleStep::Nothing => {}
            IdleStep::Arm => {
                wake_up.arm();
                slots().for_each(Slot::want_wake_up);
            }
            IdleStep::SlowDown => self.runtimes.iter().for_each(WatchedRuntime::slow_down),
            IdleStep::Disarm | IdleStep::SpeedUp => {
                wake_up.disarm();
                slots().for_each(Slot::want_no_wake_up);
                if step == IdleStep::SpeedUp {
                    self.runtimes.iter().for_each(|watched| watched.speed_up(now));
                }
            }
        }
    }

    /// Whether the service is idle, so that the next scan may come late.
    pub(super) fn is_idle(&self) -> bool {
        self.idle.is_idle()
    }

    /// The longest open stall of a runtime that is blamed on the program.
    fn oldest_stall(&self, runtime: u32) -> Option<Arc<LiveStall>> {
        let of_slots = self.slots.iter().map(|watched| &watched.stall);
        let workers = self.runtimes.iter().flat_map(|watched| &watched.workers);
        let open = of_slots.chain(workers.map(|worker| &worker.stall)).flatten();
        let blamed =
            open.filter(|stall| stall.runtime == runtime && !stall.live.cause().is_environment());
        blamed.max_by_key(|stall| stall.live.lasted()).map(|stall| Arc::clone(&stall.live))
    }
}

impl SlotSequence {
    fn of(watched: &WatchedSlot) -> Self {
        Self { slot: watched.slot, sequence: watched.sequence() }
    }
}

impl OpenPolls {
    const NONE: Self = Self { due: Nanos::MAX, undecided_since: Nanos::MAX };

    fn add_undecided(&mut self, since: Option<Nanos>) {
        self.undecided_since = self.undecided_since.min(since.unwrap_or(Nanos::MAX));
    }

    fn add(&mut self, tracker: &PollTracker) {
        if let Some(due) = tracker.due() {
            self.due = self.due.min(due);
        }
        if !tracker.is_counted() {
            self.undecided_since = self.undecided_since.min(tracker.since);
        }
    }
}

#[cfg(test)]
mod programs;
