//! A check that the other checks find blocking.

use std::future::Future;
use std::panic::Location;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use super::NoStalls;
use crate::clock::{self, nanos};
use crate::mark::allow_blocking;

/// How long a block is looked for at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// Blocks the thread on purpose, for a few thresholds, and panics if that is not found: then the
/// other checks would find nothing either.
///
/// One such test tells that a threshold is one that this machine can measure, and that nobody has
/// switched the checks off (`TOWER_STALL=off`). Other detectors take the block for an
/// [allowed](crate::allow_blocking) one.
///
/// # Panics
///
/// If the block is not found, saying why; outside of a Tokio runtime; with a threshold below
/// [`Builder::MIN_THRESHOLD`](crate::Builder::MIN_THRESHOLD).
#[track_caller]
pub fn assert_armed(threshold: Duration) -> impl Future<Output = ()> {
    let place = Location::caller();
    async move {
        let unarmed = allow_blocking(super::guard::WAITS, || {
            // Started in here, it does not know that this is allowed.
            let guard = NoStalls::start("assert_armed", threshold, place);
            let block = async { block(&guard, threshold) };
            let block = pin!(guard.detector().watched_root("assert_armed", block));
            // It does not await.
            let _ready = block.poll(&mut Context::from_waker(Waker::noop()));
            let unarmed = guard.why_unarmed();
            guard.forgive();
            unarmed
        });
        if let Some(why) = unarmed {
            panic!(
                "assert_armed at {place}: a block of {} was not found: {why}",
                clock::human(threshold * 3)
            );
        }
    }
}

/// Blocks until that is found.
fn block(guard: &NoStalls, threshold: Duration) {
    let over = clock::now() + nanos(PATIENCE.max(threshold * 10));
    loop {
        std::thread::sleep(threshold * 3);
        if !guard.detector().is_watching() || !guard.stalls().is_empty() || clock::now() >= over {
            break;
        }
    }
}
