//! What the watchdog knows of one runtime, and the totals of a scan.

use std::sync::Arc;

use tokio::runtime::RuntimeMetrics;

use super::environment::Environment;
use super::events::{Event, Events};
use super::open_stall::OpenStall;
use super::rules::closed::{ClosedInput, ClosedStep, ClosedTracker};
use super::rules::freeze::{FreezeInput, FreezeTracker};
use super::rules::health::{HealthAction, HealthInput, HealthTracker};
use super::rules::misplaced::{MisplacedSample, StandingWorker};
use super::rules::poll::{Holds, PollTracker};
use super::rules::rescue::{DriverState, Rescuer};
use super::settings::WatchdogSettings;
use super::watched_worker::WatchedWorker;
use crate::clock::{Nanos, nanos};
use crate::labels::PollKind;
use crate::procfs::thread::RunQueueSample;
use crate::runtime::status::WorkerCounts;
use crate::runtime::{Runtime, WorkerCounters, WorkerThread};
use crate::slot::{Identity, OpenPoll};
use crate::stall::{Cause, Stall};

pub(super) struct WatchedRuntime {
    pub(super) runtime: Arc<Runtime>,
    settings: WatchdogSettings,
    tick: Nanos,
    threshold: Nanos,
    /// `None` once the runtime has ended.
    metrics: Option<RuntimeMetrics>,
    pub(super) workers: Vec<WatchedWorker>,
    freeze: FreezeTracker,
    lags_seen: u64,
    last_lag: Nanos,
    health: HealthTracker,
    closed: ClosedTracker,
    rescuer: Rescuer,
    pub(super) totals: ScanTotals,
    /// When to map the worker threads next.
    map_at: Nanos,
    /// Attempts so far.
    maps: u32,
}

// Attempts to map worker threads: 8 at 25 ms, then one a second, 32 in all.
const MOST_MAPS: u32 = 32;
const QUICK_MAPS: u32 = 8;
const QUICK_MAP: Nanos = 25_000_000;
const SLOW_MAP: Nanos = 1_000_000_000;
/// A current-thread runtime whose counters stand still for so long, and that is in no poll as far as
/// is known, is not driven.
const UNDRIVEN: Nanos = 1_000_000_000;

/// What one scan finds in one runtime.
#[derive(Default)]
pub(super) struct ScanTotals {
    /// Stalled workers.
    stalled: usize,
    /// When the newest of their stalls began.
    stalled_since: Nanos,
    /// How long the oldest stall has lasted.
    oldest: Nanos,
    /// Its cause. Known from the scan after it was counted.
    cause: Option<Cause>,
    /// The environment holds up a worker.
    excused: bool,
    /// Workers in allowed blocks.
    allowed: usize,
    /// When the first and the last of these blocks began.
    allowed_since: Option<(Nanos, Nanos)>,
}

impl ScanTotals {
    /// Adds an open poll. Returns whether it explains that its worker makes no progress.
    pub(super) fn add(
        &mut self,
        now: Nanos,
        has_worker: bool,
        tracker: &PollTracker,
        stall: Option<&OpenStall>,
    ) -> bool {
        if tracker.is_counted() {
            let age = now.saturating_sub(tracker.since);
            if age >= self.oldest {
                (self.oldest, self.cause) = (age, stall.map(|stall| stall.live.cause()));
            }
            if has_worker {
                self.stalled += 1;
                self.stalled_since = self.stalled_since.max(tracker.since);
            }
        } else if tracker.is_excused() {
            self.excused |= has_worker;
        } else {
            return false;
        }
        true
    }
}

impl WatchedRuntime {
    pub(super) fn new(runtime: Arc<Runtime>, settings: WatchdogSettings, threshold: Nanos) -> Self {
        Self {
            settings,
            tick: nanos(settings.tick_interval),
            threshold,
            metrics: runtime.metrics(),
            workers: (0..runtime.workers).map(|_| WatchedWorker::default()).collect(),
            freeze: FreezeTracker::default(),
            lags_seen: 0,
            last_lag: 0,
            health: HealthTracker::default(),
            closed: ClosedTracker::default(),
            rescuer: Rescuer::default(),
            totals: ScanTotals::default(),
            map_at: 0,
            maps: 0,
            runtime,
        }
    }

    /// Begins a scan: reads the counters of the workers.
    pub(super) fn read_workers(&mut self, now: Nanos) {
        self.totals = ScanTotals::default();
        let Some(metrics) = &self.metrics else { return };
        for (at, worker) in self.workers.iter_mut().enumerate() {
            worker.read(now, WorkerCounters::read(metrics, at));
        }
    }

    /// What an open poll of this runtime holds up.
    pub(super) fn holds(&self, open: &OpenPoll, kind: PollKind) -> Holds {
        let place = open.identity.place;
        let (Some(worker), Some(metrics)) = (place.worker, &self.metrics) else {
            return Holds::without_worker(kind);
        };
        let at = worker as usize;
        if self.is_misplaced(open) {
            return Holds::Nothing;
        }
        // Read after the slot: the counters then include what the worker did before the poll.
        let counters = WorkerCounters::read(metrics, at);
        if kind == PollKind::Allowed { Holds::Allowed(counters) } else { Holds::Worker(counters) }
    }

    /// Whether the worker that the thread of an open poll said it runs was seen on a later thread.
    pub(super) fn is_misplaced(&self, open: &OpenPoll) -> bool {
        let Identity { place, thread, claim } = open.identity;
        place.worker.is_some_and(|worker| self.runtime.is_lost(worker as usize, thread, claim))
    }

    /// A misplaced poll, and a worker that it may hold: the candidate, if that stands still.
    pub(super) fn misplaced(
        &self,
        open: &OpenPoll,
        threshold: Nanos,
        candidate: Option<usize>,
        now: Nanos,
    ) -> MisplacedSample {
        let still = |at: &usize| self.workers[*at].stands_still_for_no_reason(now, threshold);
        let still_worker = candidate.into_iter().chain(0..self.workers.len()).find(still);
        let standing = |worker| StandingWorker {
            worker,
            claim: self.runtime.owner(worker).map_or(0, |owner| owner.claim),
        };
        MisplacedSample {
            sequence: open.sequence,
            thread: open.identity.thread,
            threshold,
            single: self.runtime.single,
            still_worker: still_worker.map(standing),
        }
    }

    /// What a misplaced poll of a thread holds up that was found to hold a worker.
    pub(super) fn holds_found(&self, found: StandingWorker, thread: u32) -> Holds {
        let StandingWorker { worker, claim } = found;
        match &self.metrics {
            Some(metrics) if !self.runtime.is_lost(worker, thread, claim) => {
                Holds::Worker(WorkerCounters::read(metrics, worker))
            }
            _ => Holds::Nothing,
        }
    }

    /// Adds an allowed block that holds a worker of this runtime to the totals. It began then.
    pub(super) fn add_allowed(&mut self, worker: Option<u32>, since: Nanos) {
        if let Some(worker) = worker {
            self.workers[worker as usize].explained = true;
        }
        self.totals.allowed += 1;
        let (first, last) = self.totals.allowed_since.unwrap_or((since, since));
        self.totals.allowed_since = Some((first.min(since), last.max(since)));
    }

    /// Since when no worker is left: each is held by a stall or by an allowed block. Where all blocks
    /// are allowed, from the end of the time that such a block may take.
    fn all_held_since(&self, now: Nanos) -> Option<Nanos> {
        let ScanTotals { stalled, stalled_since, allowed, allowed_since, .. } = &self.totals;
        let last_allowed = allowed_since.map_or(0, |(_, last)| last);
        let since = match stalled {
            0 => last_allowed + self.settings.patience.dead_after,
            _ => last_allowed.max(*stalled_since),
        };
        (stalled + allowed >= self.runtime.workers && since <= now).then_some(since)
    }

    /// Adds an open poll of this runtime to the totals.
    pub(super) fn add_poll(
        &mut self,
        now: Nanos,
        worker: Option<u32>,
        tracker: &PollTracker,
        stall: Option<&OpenStall>,
    ) {
        let explains = self.totals.add(now, worker.is_some(), tracker, stall);
        if let Some(worker) = worker {
            let worker = &mut self.workers[worker as usize];
            worker.explained |= explains;
            worker.held |= now > tracker.since;
            worker.polled = true;
        }
    }

    /// The thread that runs the worker, if the worker has made no progress since the last scan for no
    /// known reason.
    pub(super) fn still_thread(&self, worker: usize, now: Nanos) -> Option<WorkerThread> {
        let watched = &self.workers[worker];
        let is_still = watched.has_not_moved(now) && !watched.explained && !watched.held;
        // One that has an owner has run, though it may not have parked yet.
        if is_still && self.metrics.is_some() { self.runtime.owner(worker) } else { None }
    }

    /// Whether the same thread was seen later on a worker of this runtime.
    pub(super) fn has_taken(&self, owner: WorkerThread) -> bool {
        let mut owners = (0..self.workers.len()).filter_map(|worker| self.runtime.owner(worker));
        owners.any(|other| other.thread == owner.thread && other.claim > owner.claim)
    }

    /// Requests a map of the worker threads if a worker has run and its thread is not known.
    pub(super) fn map_workers(&mut self, now: Nanos, events: &mut Events) {
        if now < self.map_at || self.maps >= MOST_MAPS {
            return;
        }
        let mut workers = self.workers.iter().enumerate();
        let is_unknown = workers.any(|(worker, watched)| {
            !watched.counters.is_fresh() && self.runtime.owner(worker).is_none()
        });
        if is_unknown {
            let wait = if self.maps < QUICK_MAPS { QUICK_MAP } else { SLOW_MAP };
            (self.map_at, self.maps) = (now + wait, self.maps + 1);
            events.push(Event::MapWorkers(Arc::clone(&self.runtime)));
        }
    }

    /// Publishes how many workers are stalled and saturated.
    pub(super) fn publish_workers(&self, now: Nanos) {
        let saturated = self.workers.iter().filter(|worker| {
            !self.runtime.single && !worker.explained && worker.stands_still(now, self.threshold)
        });
        self.runtime.status.set_workers(WorkerCounts {
            stalled: self.totals.stalled as u32,
            saturated: saturated.count() as u32,
            oldest: self.totals.oldest,
        });
    }

    /// Completes the record of a stall of this runtime.
    pub(super) fn complete(&self, record: &mut Stall) {
        (record.runtime, record.workers) = (self.runtime.name.into(), self.runtime.workers);
        record.workers_stalled = self.totals.stalled;
    }

    /// Reads the lags of ticks, fills in those of missing ticks, and adds up frozen time.
    pub(super) fn read_ticks(
        &mut self,
        now: Nanos,
        environment: &Environment,
        events: &mut Events,
    ) {
        let Runtime { name, ref heartbeat, ref lag_history, .. } = *self.runtime;
        heartbeat.ask_if_due(now);
        if heartbeat.asked().is_some() || !heartbeat.is_ticking() && now >= heartbeat.due() {
            heartbeat.wake();
        }
        let mut record = |lag| {
            lag_history.note(now, lag);
            events.push(Event::Lag { runtime: name, lag });
        };
        let lost = heartbeat.lags(&mut self.lags_seen, |lag| {
            self.last_lag = lag;
            record(lag);
        });
        let allowed_since = self.totals.allowed_since;
        let input = FreezeInput {
            due: self.due(),
            beat: heartbeat.beat(),
            tick: self.tick,
            threshold: self.threshold,
            driven: !self.runtime.single,
            all_held_since: self.all_held_since(now),
            allowed_until: allowed_since
                .map(|(first, _)| first + self.settings.patience.dead_after),
        };
        self.freeze.missing(now, input).for_each(record);
        if lost > 0 {
            events.push(Event::LagsLost(lost));
        }
        let time = self.freeze.frozen(now, input);
        if time > 0 {
            let cause = self.totals.cause.or_else(|| environment.cause()).unwrap_or(Cause::Unknown);
            events.push(Event::Frozen { runtime: name, cause, time });
        }
    }

    /// Judges and publishes the health of the runtime.
    pub(super) fn judge_health(&mut self, now: Nanos, environment: &Environment) -> HealthAction {
        let due = self.due();
        let frozen_since = self.freeze.since();
        // The wait for a CPU is read from files: not for every tick that is a little late.
        let reads = frozen_since.is_some() || due.is_some_and(|due| now > due + self.tick);
        let elapsed = environment.elapsed;
        let waited = self.waited_for_cpu(elapsed, reads);
        let lost = environment.lost_since_last.total().max(environment.unwatched);
        let input = HealthInput {
            frozen_since,
            overdue: due.is_some_and(|due| now > due),
            environment: lost.max(waited).min(elapsed),
            excused: self.totals.excused && self.totals.cause.is_none(),
            lag: self.last_lag,
            answers: self.runtime.status.answers(),
        };
        let (health, action) = self.health.update(now, input, self.settings.patience);
        self.runtime.status.set_health(health);
        if health.sheds && frozen_since.is_none() {
            // The tick that lets requests in again need not wait for its time.
            self.runtime.heartbeat.ask(now);
        }
        action
    }

    /// Finds out whether a frozen runtime was shut down while all of its workers are stuck. From then on
    /// it counts as ended.
    pub(super) fn look_for_shutdown(&mut self, now: Nanos, events: &mut Events) {
        let Some(metrics) = &self.metrics else { return };
        let input = ClosedInput {
            frozen: self.freeze.since().map_or(0, |since| now.saturating_sub(since)),
            parked: self.workers.iter().any(|worker| worker.counters.is_parked()),
            queued: metrics.global_queue_depth(),
            answers: self.runtime.status.answers(),
        };
        match self.closed.update(now, input) {
            ClosedStep::Nothing => {}
            ClosedStep::Ask => events.push(Event::Ping(Arc::clone(&self.runtime))),
            ClosedStep::Closed => self.runtime.end(),
        }
    }

    /// Requests to wake a parked worker if that helps timers and sockets.
    pub(super) fn rescue(&mut self, now: Nanos, environment: &Environment, events: &mut Events) {
        if !self.settings.rescue || self.runtime.single {
            return;
        }
        // A tick that the watchdog wakes says nothing of timers.
        let by_timer = self.runtime.heartbeat.is_by_timer();
        let driver = DriverState {
            due: self.due().filter(|_| by_timer),
            tick: self.tick,
            lost: environment.lost.total(),
            parked: self.workers.iter().any(|worker| worker.counters.is_parked()),
            held: self.workers.iter().any(|worker| worker.stands_still(now, self.tick)),
        };
        if let Some(first) = self.rescuer.update(now, driver) {
            events.push(Event::Rescue { runtime: Arc::clone(&self.runtime), first });
        }
    }

    // The pace.

    /// Whether no worker runs, ticks come in time, and there was no freeze for a while. A
    /// current-thread runtime that nobody drives is quiet too.
    pub(super) fn is_quiet(&self, now: Nanos) -> bool {
        let is_single = self.runtime.single;
        let sleeps = |worker: &WatchedWorker| {
            let counters = worker.counters;
            let undriven = is_single && worker.stands_still(now, UNDRIVEN);
            counters.is_parked() || counters.is_fresh() || undriven
        };
        let overdue = self.due().is_some_and(|due| now > due + self.tick);
        self.workers.iter().all(sleeps)
            && (is_single || !overdue)
            && self.freeze.since().is_none()
            && !self.health.is_recovering()
    }

    /// Lets ticks come as rarely as scans do while the service is idle.
    pub(super) fn slow_down(&self) {
        let interval = self.settings.idle_interval.max(self.tick);
        self.runtime.heartbeat.set_interval(interval);
    }

    /// Lets ticks come as often as usual, the first at once.
    pub(super) fn speed_up(&self, now: Nanos) {
        self.runtime.heartbeat.hurry(now, self.tick);
    }

    /// When the next tick should wake; `None` if nothing ticks.
    fn due(&self) -> Option<Nanos> {
        let heartbeat = &self.runtime.heartbeat;
        heartbeat.is_ticking().then(|| heartbeat.due())
    }

    /// The longest time that a worker waited for a CPU since the last scan. Known from the second
    /// scan in a row that `reads`.
    fn waited_for_cpu(&mut self, elapsed: Nanos, reads: bool) -> Nanos {
        let Self { runtime, workers, .. } = self;
        let waited = workers.iter_mut().enumerate().map(|(at, worker)| {
            let thread = runtime.owner(at).filter(|_| reads).map(|owner| owner.thread);
            let sample = thread.and_then(|thread| Some((thread, RunQueueSample::of(thread)?)));
            worker.cpu_wait.update(sample, elapsed)
        });
        waited.max().unwrap_or(0)
    }
}
