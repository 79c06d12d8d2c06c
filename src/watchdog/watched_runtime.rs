//! What the watchdog keeps of one runtime, and what a scan sums up of it.

use std::sync::Arc;

use super::rules::cpu_wait::CpuWait;
use super::rules::freeze::{FreezeInput, FreezeTracker};
use super::rules::health::HealthTracker;
use super::rules::poll::Holds;
use super::rules::rescue::Rescuer;
use super::unattributed::Unattributed;
use crate::clock::Nanos;
use crate::labels::PollKind;
use crate::procfs::thread::RunQueueSample;
use crate::runtime::heartbeat::TickState;
use crate::runtime::status::WorkerCounts;
use crate::runtime::{Runtime, WorkerCounters, WorkerMeter, WorkerThread};
use crate::slot::OpenPoll;
use crate::stall::Cause;

pub(super) struct WatchedRuntime {
    pub(super) runtime: Arc<Runtime>,
    meter: Option<WorkerMeter>,
    pub(super) workers: Vec<WatchedWorker>,
    pub(super) freeze: FreezeTracker,
    pub(super) lags_seen: u64,
    pub(super) last_lag: Nanos,
    pub(super) health: HealthTracker,
    pub(super) rescuer: Rescuer,
    pub(super) tally: ScanTotals,
    /// From when on it may be asked again who runs the workers, and how often it was.
    map_at: Nanos,
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

/// It is asked so often, at first quickly.
const MAPS: u32 = 32;
const QUICK_MAPS: u32 = 8;
const MAP: Nanos = 1_000_000_000;
const QUICK_MAP: Nanos = 25_000_000;

/// What one scan finds in one runtime.
#[derive(Clone, Copy, Default)]
pub(super) struct ScanTotals {
    pub(super) stalled: usize,
    /// When the last of them began.
    stalled_since: Nanos,
    oldest: Nanos,
    /// Why the oldest is stalled.
    pub(super) cause: Option<Cause>,
    /// The environment holds up a worker.
    pub(super) excused: bool,
    allowed: bool,
}

impl WatchedRuntime {
    pub(super) fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            meter: runtime.meter(),
            workers: (0..runtime.workers).map(|_| WatchedWorker::default()).collect(),
            freeze: FreezeTracker::default(),
            lags_seen: 0,
            last_lag: 0,
            health: HealthTracker::default(),
            rescuer: Rescuer::default(),
            tally: ScanTotals::default(),
            map_at: 0,
            maps: 0,
            runtime,
        }
    }

    pub(super) fn read_workers(&mut self, now: Nanos) {
        self.tally = ScanTotals::default();
        let Some(meter) = &self.meter else { return };
        for (at, worker) in self.workers.iter_mut().enumerate() {
            worker.explained = false;
            let counters = meter.counters(at);
            if counters != worker.counters || worker.unchanged_since == 0 {
                (worker.counters, worker.unchanged_since) = (counters, now);
            }
        }
    }

    pub(super) fn is_at(&self, open: &OpenPoll) -> bool {
        self.runtime.index == open.identity.place.runtime
    }

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

    /// Whether it should be asked again who runs the workers: one that has run is not known.
    pub(super) fn wants_map(&mut self, now: Nanos) -> bool {
        let mut workers = self.workers.iter().enumerate();
        let wants = now >= self.map_at
            && self.maps < MAPS
            && workers.any(|(worker, watched)| {
                !watched.counters.is_fresh() && self.runtime.owner(worker).is_none()
            });
        if wants {
            let wait = if self.maps < QUICK_MAPS { QUICK_MAP } else { MAP };
            (self.map_at, self.maps) = (now + wait, self.maps + 1);
        }
        wants
    }

    /// What an open poll of this runtime holds up.
    pub(super) fn holds(&mut self, open: &OpenPoll, kind: PollKind) -> Holds {
        let place = open.identity.place;
        let (Some(worker), Some(meter)) = (place.worker, &self.meter) else {
            return if kind == PollKind::Root { Holds::Root } else { Holds::Nothing };
        };
        let at = worker as usize;
        if self.runtime.is_lost(at, open.identity.thread, open.identity.claim) {
            return Holds::Nothing;
        }
        if kind == PollKind::Allowed {
            self.tally.allowed = true;
            self.workers[at].explained = true;
            return Holds::Nothing;
        }
        // Read after the slot: what the worker did before the poll is in the counters then.
        Holds::Worker(meter.counters(at))
    }

    pub(super) fn tally_stalled(
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

    /// The environment is why that worker does not come round.
    pub(super) fn excuse(&mut self, worker: Option<u32>) {
        self.explain(worker);
        self.tally.excused |= worker.is_some();
    }

    fn explain(&mut self, worker: Option<u32>) {
        if let Some(worker) = worker {
            self.workers[worker as usize].explained = true;
        }
    }

    /// For how long a worker waited for a CPU in the `time` since the last scan, as far as that is
    /// known: of several the one that waited longest. Asked from the second scan in a row on.
    pub(super) fn waited_for_a_cpu(&mut self, time: Nanos, asks: bool) -> Nanos {
        let Self { runtime, workers, .. } = self;
        let waited = workers.iter_mut().enumerate().map(|(at, worker)| {
            let owner = if asks { runtime.owner(at) } else { None };
            let sample =
                owner.and_then(|owner| Some((owner.thread, RunQueueSample::of(owner.thread)?)));
            worker.cpu_wait.update(sample, time)
        });
        waited.max().unwrap_or(0)
    }

    /// Whether a worker is parked.
    pub(super) fn has_parked(&self) -> bool {
        self.workers.iter().any(|worker| worker.counters.is_parked())
    }

    /// Whether a worker that is not parked has not come round for that long.
    pub(super) fn has_held(&self, now: Nanos, time: Nanos) -> bool {
        self.workers.iter().any(|worker| {
            let WatchedWorker { counters, unchanged_since, .. } = worker;
            let moves = counters.is_parked() || counters.is_fresh();
            !moves && now.saturating_sub(*unchanged_since) >= time
        })
    }

    pub(super) fn freeze_input(&self, tick: Nanos, threshold: Nanos) -> FreezeInput {
        let ticking = self.runtime.heartbeat.state() == TickState::Ticking;
        let all_stalled = self.tally.stalled >= self.runtime.workers;
        FreezeInput {
            due: ticking.then(|| self.runtime.heartbeat.due()),
            beat: self.runtime.heartbeat.beat(),
            tick,
            threshold,
            driven: !self.runtime.single,
            all_stalled_since: all_stalled.then_some(self.tally.stalled_since),
            allowed: self.tally.allowed,
        }
    }

    pub(super) fn set_gauges(&self, now: Nanos, threshold: Nanos) {
        let saturated = self.workers.iter().filter(|worker| {
            let unchanged = now.saturating_sub(worker.unchanged_since);
            let counters = worker.counters;
            !self.runtime.single
                && unchanged >= threshold
                && !(counters.is_parked() || counters.is_fresh() || worker.explained)
        });
        self.runtime.status.set_workers(WorkerCounts {
            stalled: self.tally.stalled as u32,
            saturated: saturated.count() as u32,
            oldest: self.tally.oldest,
        });
    }
}
