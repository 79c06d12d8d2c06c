//! The workers of a runtime as a test says, on its own thread.

#![cfg(test)]

use std::cell::{Cell, RefCell};

use super::WorkerCounters;

thread_local! {
    static WORKER: Cell<Option<Option<usize>>> = const { Cell::new(None) };
    static COUNTERS: RefCell<Vec<WorkerCounters>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn worker() -> Option<Option<usize>> {
    WORKER.get()
}

pub(super) fn counters(worker: usize) -> Option<WorkerCounters> {
    COUNTERS.with_borrow(|counters| counters.get(worker).copied())
}

/// Sets which worker, if any, this thread seems to run. `None`: the one that it runs.
pub(crate) fn set_worker(worker: Option<Option<usize>>) {
    WORKER.set(worker);
}

/// Sets the counters of all workers. None: those of the runtime.
pub(crate) fn set_counters(counters: &[WorkerCounters]) {
    COUNTERS.with_borrow_mut(|set| counters.clone_into(set));
}
