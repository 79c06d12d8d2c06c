//! What the watchdog keeps of one runtime, and what a scan sums up of it.

use std::sync::Arc;
use std::time::Duration;

use super::environment::Environment;
use super::events::{Event, Events};
use super::open_stall::{OpenStall, RuntimeNow};
use super::rules::cpu_wait::CpuWait;
use super::rules::freeze::{FreezeInput, FreezeTracker};
use super::rules::health::{HealthAction, HealthInput, HealthTracker, Patience};
use super::rules::poll::{Holds, PollTracker};
use super::rules::rescue::{DriverState, Rescuer};
use super::unattributed::Unattributed;
use crate::clock::{Nanos, nanos};
use crate::labels::PollKind;
use crate::procfs::thread::RunQueueSample;
use crate::runtime::heartbeat::TickState;
use crate::runtime::status::{RuntimeHealth, WorkerCounts};
use crate::runtime::{Runtime, WorkerCounters, WorkerMeter, WorkerThread};
use crate::slot::OpenPoll;
use crate::stall::Cause;

pub(super) struct WatchedRuntime {
    pub(super) runtime: Arc<Runtime>,
    tick: Nanos,
    threshold: Nanos,
    meter: Option<WorkerMeter>,
    pub(super) workers: Vec<WatchedWorker>,
    freeze: FreezeTracker,
    lags_seen: u64,
    last_lag: Nanos,
    health: HealthTracker,
    rescuer: Rescuer,
    totals: ScanTotals,
    /// When it may next be asked who runs the workers.
    map_at: Nanos,
    /// How often it was.
    maps: u32,
}

#[derive(Default)]
pub(super) struct WatchedWorker {
    counters: WorkerCounters,
    pub(super) unchanged_since: Nanos,
    /// It is known why it does not come round.
    explained: bool,
    cpu_wait: CpuWait,
    pub(super) unattributed: Unattributed,
}

// Attempts to map worker threads: 8 at 25 ms, then one a second, 32 in all.
const MOST_MAPS: u32 = 32;
const QUICK_MAPS: u32 = 8;
const QUICK_MAP: Nanos = 25_000_000;
const SLOW_MAP: Nanos = 1_000_000_000;

/// What one scan finds in one runtime.
#[derive(Clone, Copy, Default)]
struct ScanTotals {
    /// Workers that are stalled.
    stalled: usize,
    /// When the last of them began to be.
    stalled_since: Nanos,
    /// How long the oldest stall lasts.
    oldest: Nanos,
    /// Its cause.
    cause: Option<Cause>,
    /// The environment holds up a worker.
    excused: bool,
    /// A worker is in a block that is meant to be there.
    allowed: bool,
}

/// What a poll means for its worker.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing {
    /// Nothing yet.
    Open,
    /// The environment holds the worker up.
    Excused,
    /// It stalls the worker; the cause is there from the scan after it was counted.
    Stalled { since: Nanos, cause: Option<Cause> },
}

impl Standing {
    pub(super) fn of(tracker: &PollTracker, stall: Option<&OpenStall>) -> Self {
        if tracker.is_counted() {
            Self::Stalled { since: tracker.since(), cause: stall.map(|stall| stall.live.cause()) }
        } else if tracker.is_excused() {
            Self::Excused
        } else {
            Self::Open
        }
    }
}

impl WatchedRuntime {
    pub(super) fn new(runtime: Arc<Runtime>, tick: Duration, threshold: Nanos) -> Self {
        Self {
            tick: nanos(tick),
            threshold,
            meter: runtime.meter(),
            workers: (0..runtime.workers).map(|_| WatchedWorker::default()).collect(),
            freeze: FreezeTracker::default(),
            lags_seen: 0,
            last_lag: 0,
            health: HealthTracker::default(),
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
        let Some(meter) = &self.meter else { return };
        for (at, worker) in self.workers.iter_mut().enumerate() {
            worker.explained = false;
            let counters = meter.counters(at);
            if counters != worker.counters || worker.unchanged_since == 0 {
                (worker.counters, worker.unchanged_since) = (counters, now);
            }
        }
    }

    // While the slots are read.

    pub(super) fn is_at(&self, open: &OpenPoll) -> bool {
        self.runtime.index == open.identity.place.runtime
    }

    /// What an open poll of this runtime holds up.
    pub(super) fn holds(&mut self, open: &OpenPoll, kind: PollKind) -> Holds {
        let place = open.identity.place;
        let (Some(worker), Some(meter)) = (place.worker, &self.meter) else {
            return Holds::without_worker(kind);
        };
        let at = worker as usize;
        if self.runtime.is_lost(at, open.identity.thread, open.identity.claim) {
            return Holds::Nothing;
        }
        if kind == PollKind::Allowed {
            self.totals.allowed = true;
            self.workers[at].explained = true;
            return Holds::Nothing;
        }
        // Read after the slot: what the worker did before the poll is in the counters then.
        Holds::Worker(meter.counters(at))
    }

    /// Adds a poll to what this scan sums up. One without a worker stalls none.
    pub(super) fn sum_up(&mut self, now: Nanos, worker: Option<u32>, standing: Standing) {
        let totals = &mut self.totals;
        match standing {
            Standing::Open => return,
            Standing::Excused => totals.excused |= worker.is_some(),
            Standing::Stalled { since, cause } => {
                let age = now.saturating_sub(since);
                if age >= totals.oldest {
                    (totals.oldest, totals.cause) = (age, cause);
                }
                if worker.is_some() {
                    totals.stalled += 1;
                    totals.stalled_since = totals.stalled_since.max(since);
                }
            }
        }
        if let Some(worker) = worker {
            self.workers[worker as usize].explained = true;
        }
    }

    // Once the slots have been read.

    /// Who runs that worker, if it has not come round since the last scan for no known reason.
    pub(super) fn stands_still(&self, worker: usize, now: Nanos) -> Option<WorkerThread> {
        let WatchedWorker { counters, unchanged_since, explained, .. } = &self.workers[worker];
        let moves = *unchanged_since == now || counters.is_parked() || counters.is_fresh();
        if moves || *explained || self.meter.is_none() {
            return None;
        }
        self.runtime.owner(worker)
    }

    /// Whether that thread was seen on a worker of this runtime after it was seen on its own.
    pub(super) fn is_later(&self, owner: WorkerThread) -> bool {
        let mut owners = (0..self.workers.len()).filter_map(|worker| self.runtime.owner(worker));
        owners.any(|other| other.thread == owner.thread && other.claim > owner.claim)
    }

    /// Asks who runs the workers, where one that has run is not known.
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
            let unchanged = now.saturating_sub(worker.unchanged_since);
            let counters = worker.counters;
            !self.runtime.single
                && unchanged >= self.threshold
                && !(counters.is_parked() || counters.is_fresh() || worker.explained)
        });
        self.runtime.status.set_workers(WorkerCounts {
            stalled: self.totals.stalled as u32,
            saturated: saturated.count() as u32,
            oldest: self.totals.oldest,
        });
    }

    /// What a record of a stall says of this runtime.
    pub(super) fn now(&self) -> RuntimeNow {
        let Runtime { name, workers, .. } = *self.runtime;
        RuntimeNow { name, workers, stalled: self.totals.stalled }
    }

    // Once the workers have been read.

    /// Reads the ticks that came, fills in those that are missing, and adds up how long the runtime
    /// is frozen. `environment` is what held the whole process up since the last scan.
    pub(super) fn read_heartbeat(
        &mut self,
        now: Nanos,
        environment: Option<Cause>,
        events: &mut Events,
    ) {
        let Runtime { name, ref heartbeat, ref lag_history, .. } = *self.runtime;
        if heartbeat.state() == TickState::Waiting && now >= heartbeat.due() {
            heartbeat.nudge();
        }
        let mut record = |lag| {
            lag_history.note(now, lag);
            events.push(Event::Lag { runtime: name, lag });
        };
        let lost = heartbeat.lags(&mut self.lags_seen, |lag| {
            self.last_lag = lag;
            record(lag);
        });
        let input = self.freeze_input();
        self.freeze.missing(now, input).for_each(record);
        if lost > 0 {
            events.push(Event::LagsLost(lost));
        }
        let time = self.freeze.frozen(now, input);
        if time > 0 {
            let cause = self.totals.cause.or(environment).unwrap_or(Cause::Unknown);
            events.push(Event::Frozen { runtime: name, cause, time });
        }
    }

    /// Judges and publishes what a freeze means for the runtime's health. `time` is what has passed
    /// since the last scan.
    pub(super) fn judge_health(
        &mut self,
        now: Nanos,
        time: Nanos,
        environment: &Environment,
        patience: Patience,
    ) -> (RuntimeHealth, HealthAction) {
        let due = self.due();
        let frozen_since = self.freeze.since();
        // The wait for a CPU is read from files: not for every tick that is a little late.
        let reads = frozen_since.is_some() || due.is_some_and(|due| now > due + self.tick);
        let waited = self.waited_for_a_cpu(time, reads);
        let input = HealthInput {
            frozen_since,
            overdue: due.is_some_and(|due| now > due),
            environment: environment.lost_since_last().max(waited).min(time),
            excused: self.totals.excused && self.totals.cause.is_none(),
            lag: self.last_lag,
            answers: self.runtime.status.answers(),
        };
        let (health, action) = self.health.update(now, input, patience);
        self.runtime.status.set(health);
        (health, action)
    }

    /// Wakes a parked worker where that helps timers and sockets.
    pub(super) fn rescue(&mut self, now: Nanos, environment: &Environment, events: &mut Events) {
        if self.runtime.single {
            return;
        }
        let driver = DriverState {
            due: self.due(),
            tick: self.tick,
            lost: environment.lost(),
            parked: self.workers.iter().any(|worker| worker.counters.is_parked()),
            held: self.workers.iter().any(|worker| worker.is_held(now, self.tick)),
        };
        if let Some(first) = self.rescuer.update(now, driver) {
            events.push(Event::Rescue { runtime: Arc::clone(&self.runtime), first });
        }
    }

    /// When the awaited tick should wake; `None` where nothing ticks.
    fn due(&self) -> Option<Nanos> {
        let heartbeat = &self.runtime.heartbeat;
        (heartbeat.state() == TickState::Ticking).then(|| heartbeat.due())
    }

    fn freeze_input(&self) -> FreezeInput {
        let all_stalled = self.totals.stalled >= self.runtime.workers;
        FreezeInput {
            due: self.due(),
            beat: self.runtime.heartbeat.beat(),
            tick: self.tick,
            threshold: self.threshold,
            driven: !self.runtime.single,
            all_stalled_since: all_stalled.then_some(self.totals.stalled_since),
            allowed: self.totals.allowed,
        }
    }

    /// For how long a worker waited for a CPU since the last scan, as far as that is known: of
    /// several the one that waited longest. Known from the second scan in a row on that `reads`.
    fn waited_for_a_cpu(&mut self, time: Nanos, reads: bool) -> Nanos {
        let Self { runtime, workers, .. } = self;
        let waited = workers.iter_mut().enumerate().map(|(at, worker)| {
            let owner = if reads { runtime.owner(at) } else { None };
            let sample =
                owner.and_then(|owner| Some((owner.thread, RunQueueSample::of(owner.thread)?)));
            worker.cpu_wait.update(sample, time)
        });
        waited.max().unwrap_or(0)
    }
}

impl WatchedWorker {
    /// Whether it is not parked and has not come round for that long.
    fn is_held(&self, now: Nanos, time: Nanos) -> bool {
        let moves = self.counters.is_parked() || self.counters.is_fresh();
        !moves && now.saturating_sub(self.unchanged_since) >= time
    }
}
