//! What a detector knows of the runtimes it watches. Threads of the service write it, and the watchdog
//! reads it.
//!
//! [`Registry`](registry::Registry) is the shared state of one detector.

mod allowed_blocks;
pub(crate) mod heartbeat;
pub(crate) mod lag_history;
pub(crate) mod registry;
#[allow(clippy::module_inception)]
mod runtime;
pub(crate) mod scan_barrier;
pub(crate) mod status;
mod wake_up;

pub(crate) use runtime::{Runtime, WorkerCounters, WorkerThread};

#[cfg(test)]
pub(crate) mod by_hand;
