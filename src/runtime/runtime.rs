//! A watched runtime: its name, its counters, its heartbeat, who its workers are.

use std::sync::Mutex;
use std::time::Duration;

use tokio::runtime::{Handle, Id, RuntimeFlavor, RuntimeMetrics};
use tokio::task::AbortHandle;

use super::heartbeat::Heartbeat;
use super::lag_history::LagHistory;
use super::status::{RuntimeHealth, RuntimeSnapshot, RuntimeStatus, WorkerCounts};
use crate::clock::Nanos;
use crate::sync::{AtomicBool, AtomicI64, AtomicU64, Ordering, lock};

use Ordering::{Acquire, Relaxed, Release};

/// Bits of an owner that hold the thread; the rest holds the claim.
const THREAD_BITS: u32 = 24;

/// One runtime, as one detector watches it.
#[derive(Debug)]
pub(crate) struct Runtime {
    pub(crate) index: u32,
    pub(crate) name: &'static str,
    pub(crate) id: Id,
    /// The developer asked for it; otherwise it was met.
    pub(crate) named: bool,
    /// A current-thread runtime, which may have nobody who drives it.
    pub(crate) single: bool,
    pub(crate) workers: usize,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) status: RuntimeStatus,
    pub(crate) lag_history: LagHistory,
    /// Requests that began (or, negative, ended) on threads of it that are gone.
    pub(crate) in_flight: AtomicI64,
    /// Gone when the runtime is: a kept handle keeps the runtime's files open.
    handle: Mutex<Option<Handle>>,
    task: Mutex<Option<AbortHandle>>,
    armed: AtomicBool,
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

/// Reads the counters of one runtime's workers.
#[derive(Debug)]
pub(crate) struct WorkerMeter(RuntimeMetrics);

impl WorkerMeter {
    pub(crate) fn counters(&self, worker: usize) -> WorkerCounters {
        WorkerCounters {
            parks: self.0.worker_park_unpark_count(worker),
            busy: crate::clock::nanos(self.0.worker_total_busy_duration(worker)),
        }
    }
}

/// A thread that was seen running a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerThread {
    pub(crate) thread: u32,
    /// Larger the later it was seen.
    pub(crate) claim: u64,
}

impl WorkerCounters {
    pub(crate) fn is_parked(self) -> bool {
        self.parks & 1 == 1
    }

    /// A worker that has not come round its loop even once.
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
            task: Mutex::new(None),
            armed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            owners: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Its status at `now`, without its lags.
    pub(crate) fn snapshot(&self, now: Nanos) -> RuntimeSnapshot {
        let (found, workers) = (self.status.found(), self.status.workers());
        let (beat, counts) = (self.heartbeat.beat(), !self.status.is_ignored());
        RuntimeSnapshot {
            name: self.name,
            is_first: self.index == 1,
            counts,
            has_started: self.status.has_started(),
            workers: self.workers,
            stalled: workers.stalled as usize,
            saturated: workers.saturated as usize,
            oldest: Duration::from_nanos(workers.oldest),
            heartbeat_age: (beat > 0).then(|| Duration::from_nanos(now.saturating_sub(beat))),
            frozen: Duration::from_nanos(found.frozen),
            unready: found.unready && counts,
            dead: found.dead && counts,
            lag: Vec::new(),
        }
    }

    /// The handle, while the runtime is watched.
    pub(crate) fn handle(&self) -> Option<Handle> {
        lock(&self.handle).clone()
    }

    /// What reads the workers' counters, while the runtime is watched. Keeps the runtime's files
    /// open as the handle does.
    pub(crate) fn meter(&self) -> Option<WorkerMeter> {
        self.handle().map(|handle| WorkerMeter(handle.metrics()))
    }

    /// Notes that `thread` was seen running `worker`.
    pub(crate) fn note_owner(&self, worker: usize, thread: u32, claim: u64) {
        if let Some(owner) = self.owners.get(worker) {
            let thread = u64::from(thread) & ((1 << THREAD_BITS) - 1);
            owner.fetch_max((claim << THREAD_BITS) | thread, Relaxed);
        }
    }

    /// Who was seen running `worker` last.
    pub(crate) fn owner(&self, worker: usize) -> Option<WorkerThread> {
        let owner = self.owners.get(worker)?.load(Relaxed);
        let thread = u32::try_from(owner & ((1 << THREAD_BITS) - 1)).unwrap_or(0);
        (owner != 0).then_some(WorkerThread { thread, claim: owner >> THREAD_BITS })
    }

    /// Whether `thread` was the last that was seen running `worker`.
    pub(crate) fn is_owner(&self, worker: usize, thread: u32) -> bool {
        let mask = (1 << THREAD_BITS) - 1;
        let owner = |owner: &AtomicU64| owner.load(Relaxed) & mask == u64::from(thread) & mask;
        self.owners.get(worker).is_some_and(owner)
    }

    /// Whether another thread was seen running `worker` after `claim`.
    pub(crate) fn is_lost(&self, worker: usize, thread: u32, claim: u64) -> bool {
        let Some(owner) = self.owners.get(worker) else { return true };
        let owner = owner.load(Relaxed);
        let mask = (1 << THREAD_BITS) - 1;
        owner >> THREAD_BITS > claim && owner & mask != u64::from(thread) & mask
    }

    /// Whether the caller is the one to start the tick task.
    pub(crate) fn arm(&self) -> bool {
        !self.armed.swap(true, Relaxed)
    }

    pub(crate) fn set_task(&self, task: AbortHandle) {
        *lock(&self.task) = Some(task);
    }

    /// Said by the tick task when the runtime drops it.
    pub(crate) fn end(&self) {
        self.ended.store(true, Release);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    /// Lets go of the runtime: nothing of ours keeps it or runs on it afterwards.
    pub(crate) fn release(&self) {
        self.end();
        self.status.set_workers(WorkerCounts::default());
        self.status.set(RuntimeHealth::default());
        let task = lock(&self.task).take();
        if let Some(task) = task {
            task.abort();
        }
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
        assert_eq!(runtime.meter().expect("watched").counters(0), WorkerCounters::default());
        runtime.release();
        assert!(runtime.meter().is_none() && runtime.has_ended());
    }
}
