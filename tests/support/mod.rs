//! What the tests share: a runtime with a detector, ways to block it, ways to look at it.
//!
//! The tests wait for events, never for luck: a blocking handler blocks until the detector shows
//! it (or a generous limit is over, which fails the test), and what must not happen is looked
//! for after something later has been seen.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

pub(crate) mod attack;
pub(crate) mod child;
pub(crate) mod detector;
pub(crate) mod events;
mod metrics;
pub(crate) mod needs;
pub(crate) mod quota;
mod rig;
pub(crate) mod schedstat;
mod waiting;

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::Stall;

pub(crate) use metrics::{Sample, client, fetch, find, metric, samples, scrape};
pub(crate) use needs::breakpoints_are_allowed;
pub(crate) use rig::{Block, Rig};
pub(crate) use waiting::{LIMIT, wait_within as wait_for};

/// The threshold of a [`Rig`], unless set.
pub(crate) const THRESHOLD: Duration = Duration::from_millis(100);
/// For a server whose port has to be free once it has ended: other tests bind theirs elsewhere.
pub(crate) const ALONE: ([u8; 4], u16) =
    if cfg!(target_os = "linux") { ([127, 0, 0, 2], 0) } else { ([127, 0, 0, 1], 0) };

/// Waits until `condition` holds; panics when `limit` is over.
#[track_caller]
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(limit, || condition().then_some(()));
}

/// Blocks the calling thread until `condition` holds, at most for [`LIMIT`]: the test asserts
/// afterwards what it waited for.
///
/// It sleeps for most of the time, so that its cause is that and not that the machine is busy.
pub(crate) fn block_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(25));
        if condition() {
            break;
        }
    }
}

/// Whether a stall is the program's own. On a busy machine there can be others.
pub(crate) fn is_own(stall: &Stall) -> bool {
    !stall.cause.is_environment()
}

/// A multi-thread runtime, or a current-thread runtime for 0 workers.
pub(crate) fn runtime(workers: usize) -> Runtime {
    let mut builder = match workers {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(workers.max(1)).enable_all().build().expect("a runtime")
}
