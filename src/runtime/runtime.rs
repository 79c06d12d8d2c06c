//! A watched runtime: its name, its counters, its heartbeat, the threads that run its workers.

use std::sync::Mutex;
use std::time::Duration;

use tokio::runtime::{Handle, Id, RuntimeFlavor, RuntimeMetrics};
use tokio::task::AbortHandle;

use super::heartbeat::Heartbeat;
use super::lag_history::LagHistory;
use super::status::{RuntimeHealth, RuntimeSnapshot, RuntimeStatus, WorkerCounts};
use crate::clock::{Nanos, nanos};
use crate::sync::{AtomicBool, AtomicI64, AtomicU64, Ordering, lock};

use Ordering::{Acquire, Relaxed, Release};

/// Bits of an owner that hold the thread's id: Linux uses 22. The rest holds the claim.
const THREAD_BITS: u32 = 24;
const THREAD_MASK: u64 = (1 << THREAD_BITS) - 1;

/// One runtime, as one detector watches it.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) index: u32,
    pub(crate) name: &'static str,
    pub(crate) id: Id,
    /// Whether the user named it. Otherwise it was found by a thread of it.
    pub(crate) named: bool,
    /// Whether it is a current-thread runtime, which may not be driven.
    pub(crate) single: bool,
    pub(crate) workers: usize,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) status: RuntimeStatus,
    pub(crate) lag_history: LagHistory,
    /// Requests that began minus those that ended on threads of it that are gone.
    pub(crate) in_flight: AtomicI64,
    /// Dropped with the runtime: a handle keeps the runtime's files open.
    handle: Mutex<Option<Handle>>,
    tick_task: Mutex<Option<AbortHandle>>,
    tick_task_claimed: AtomicBool,
    ended: AtomicBool,
    owners: Box<[AtomicU64]>,
}

/// Tokio's counters of one worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WorkerCounters {
    /// Odd while the worker is parked.
    pub(crate) parks: u64,
    pub(crate) busy: Nanos,
}

/// A thread that was seen running a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerThread {
    pub(crate) thread: u32,
    /// Larger if it was seen later.
    pub(crate) claim: u64,
}

impl WorkerCounters {
    pub(crate) fn read(metrics: &RuntimeMetrics, worker: usize) -> Self {
        #[cfg(test)]
        if let Some(counters) = super::by_hand::counters(worker) {
            return counters;
        }
        Self {
            parks: metrics.worker_park_unpark_count(worker),
            busy: nanos(metrics.worker_total_busy_duration(worker)),
        }
    }

    pub(crate) fn is_parked(self) -> bool {
        self.parks & 1 == 1
    }

    /// Whether the worker has never run.
    pub(crate) fn is_fresh(self) -> bool {
        self == Self::default()
    }
}

impl Runtime {
    pub(crate) fn new(index: u32, name: &'static str, named: bool, handle: &Handle) -> Self {
        let workers = handle.metrics().num_workers();
        Self {
            index,
            name,
            id: handle.id(),
            named,
            single: handle.runtime_flavor() == RuntimeFlavor::CurrentThread,
            workers,
            heartbeat: Heartbeat::new(),
            status: RuntimeStatus::default(),
            lag_history: LagHistory::default(),
            in_flight: AtomicI64::new(0),
            handle: Mutex::new(Some(handle.clone())),
            tick_task: Mutex::new(None),
            tick_task_claimed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            owners: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Its status at `now`, without its lags.
    pub(crate) fn snapshot(&self, now: Nanos) -> RuntimeSnapshot {
        let (status, beat) = (&self.status, self.heartbeat.beat());
        let counts = !status.ignored.load(Relaxed);
        RuntimeSnapshot {
            name: self.name,
            is_first: self.index == 1,
            counts,
            has_started: status.started.load(Relaxed),
            workers: self.workers,
            stalled: status.stalled.load(Relaxed) as usize,
            saturated: status.saturated.load(Relaxed) as usize,
            oldest: Duration::from_nanos(status.oldest.load(Relaxed)),
            heartbeat_age: (beat > 0).then(|| Duration::from_nanos(now.saturating_sub(beat))),
            frozen: Duration::from_nanos(status.frozen.load(Relaxed)),
            unready: status.unready.load(Relaxed) && counts,
            dead: status.dead.load(Relaxed) && counts,
            lag: Vec::new(),
        }
    }

    /// The handle, while the runtime is watched.
    pub(crate) fn handle(&self) -> Option<Handle> {
        lock(&self.handle).clone()
    }

    /// Tokio's metrics, while the runtime is watched. Like the handle, they keep the runtime's files
    /// open.
    pub(crate) fn metrics(&self) -> Option<RuntimeMetrics> {
        self.handle().map(|handle| handle.metrics())
    }

    /// Notes that `thread` was seen running `worker`.
    pub(crate) fn note_owner(&self, worker: usize, thread: u32, claim: u64) {
        if let Some(owner) = self.owners.get(worker) {
            let thread = u64::from(thread) & THREAD_MASK;
            owner.fetch_max((claim << THREAD_BITS) | thread, Relaxed);
        }
    }

    /// The thread that was last seen running `worker`.
    pub(crate) fn owner(&self, worker: usize) -> Option<WorkerThread> {
        let owner = self.owners.get(worker)?.load(Relaxed);
        let thread = (owner & THREAD_MASK) as u32;
        (owner != 0).then_some(WorkerThread { thread, claim: owner >> THREAD_BITS })
    }

    /// The workers that were not seen.
    pub(crate) fn unseen_workers(&self) -> impl Iterator<Item = usize> {
        (0..self.workers).filter(|worker| self.owner(*worker).is_none())
    }

    /// Those of them that sleep or have never run.
    pub(crate) fn unseen_idle_workers(&self) -> impl Iterator<Item = usize> {
        let metrics = self.metrics();
        let is_idle = move |worker: &usize| {
            let counters = metrics.as_ref().map(|metrics| WorkerCounters::read(metrics, *worker));
            counters.is_some_and(|counters| counters.is_parked() || counters.is_fresh())
        };
        self.unseen_workers().filter(is_idle)
    }

    /// Whether `thread` was the last that was seen running `worker`.
    pub(crate) fn is_owner(&self, worker: usize, thread: u32) -> bool {
        self.owner(worker).is_some_and(|owner| owner.thread == thread)
    }

    /// Whether another thread was seen running `worker` after `claim`, or there is no such worker.
    pub(crate) fn is_lost(&self, worker: usize, thread: u32, claim: u64) -> bool {
        let is_later = |owner: WorkerThread| owner.claim > claim && owner.thread != thread;
        worker >= self.workers || self.owner(worker).is_some_and(is_later)
    }

    /// Whether the caller has to start the tick task: `true` once.
    pub(crate) fn claim_tick_task(&self) -> bool {
        !self.tick_task_claimed.swap(true, Relaxed)
    }

    pub(crate) fn set_tick_task(&self, task: AbortHandle) {
        *lock(&self.tick_task) = Some(task);
    }

    /// Called when the runtime drops the tick task.
    pub(crate) fn end(&self) {
        self.ended.store(true, Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Ends the watch: afterwards nothing of ours runs on the runtime or keeps it alive.
    pub(crate) fn release(&self) {
        self.end();
        self.status.set_workers(WorkerCounts::default());
        self.status.set_health(RuntimeHealth::default());
        let task = lock(&self.tick_task).take();
        if let Some(task) = task {
            task.abort();
        }
        self.heartbeat.forget();
        drop(lock(&self.handle).take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> (tokio::runtime::Runtime, Runtime) {
        let tokio = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let watched = Runtime::new(1, "main", true, tokio.handle());
        (tokio, watched)
    }

    #[test]
    fn the_latest_thread_seen_on_a_worker_has_it() {
        let (_tokio, runtime) = runtime();
        assert_eq!(runtime.owner(0), None);
        runtime.note_owner(0, 100, 1);
        assert!(!runtime.is_lost(0, 100, 1));
        assert_eq!(runtime.owner(0), Some(WorkerThread { thread: 100, claim: 1 }));
        runtime.note_owner(0, 200, 2);
        assert!(runtime.is_lost(0, 100, 1));
        assert!(!runtime.is_lost(0, 200, 2));
        runtime.note_owner(0, 100, 1);
        assert!(runtime.is_lost(0, 100, 1), "an old claim does not come back");
        assert!(runtime.is_lost(7, 100, 9), "there is no such worker");
    }

    #[test]
    fn a_released_runtime_has_no_counters() {
        let (_tokio, runtime) = runtime();
        let metrics = runtime.metrics().expect("watched");
        assert_eq!(WorkerCounters::read(&metrics, 0), WorkerCounters::default());
        runtime.release();
        assert!(runtime.metrics().is_none() && runtime.has_ended());
    }
}
