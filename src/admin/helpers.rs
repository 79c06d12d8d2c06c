//! The threads beside the one that answers: one makes pages, one runs the checks of
//! [`ready_when`](crate::StallDetector::ready_when), both of which may block.
//!
//! They are blocking threads of the server's runtime. They start with it and stay, since later there may be no
//! memory for a thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::sync::lock;

/// As many jobs are there at once: pages are made one at a time, and so are checks.
const HELPERS: usize = 2;
/// How long an idle one stays: for good.
const STAY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Makes the runtime of a server keep its helpers.
pub(super) fn keep(builder: &mut Builder, name: &str) {
    builder.thread_name(name).thread_keep_alive(STAY);
}

/// Starts them. A panic of Tokio's if the system has no thread.
pub(super) fn start(runtime: &Runtime) {
    let gate = Arc::new(Mutex::new(()));
    let closed = lock(&gate);
    for _ in 0..HELPERS {
        let gate = Arc::clone(&gate);
        // Each waits until all have been started, so that it takes a thread of its own.
        drop(runtime.spawn_blocking(move || drop(lock(&gate))));
    }
    drop(closed);
}

/// Runs a job on one of them. `None` if none could ever be started, and none can be now.
pub(super) fn run<T: Send + 'static>(
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<JoinHandle<T>> {
    catch_unwind(AssertUnwindSafe(|| spawn_blocking(job))).ok()
}
