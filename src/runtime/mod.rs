//! What a detector knows of the runtimes it watches, shared by the threads of the service, which
//! write, and the watchdog, which reads.
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

pub(crate) use runtime::{Runtime, WorkerCounters, WorkerMeter, WorkerThread};
