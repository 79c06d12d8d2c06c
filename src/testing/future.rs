//! One future.

use std::future::Future;
use std::panic::Location;
use std::time::Duration;

use super::NoStalls;

/// Runs `future` and panics, once it is done, if anything blocked for `threshold` meanwhile: the
/// future itself, a task of the runtime it runs in, or what is marked.
///
/// The message has for each stall what [`NoStalls`] says. The future's own blocking counts for the
/// handler `assert_no_stalls`, on a thread without a worker too. A panic of the future comes through
/// as it is, and a future that is dropped before its end is judged then.
///
/// # Panics
///
/// Of a stall; outside of a Tokio runtime; with a threshold below
/// [`Builder::MIN_THRESHOLD`](crate::Builder::MIN_THRESHOLD).
#[track_caller]
pub fn assert_no_stalls<F: Future>(
    threshold: Duration,
    future: F,
) -> impl Future<Output = F::Output> {
    let place = Location::caller();
    async move {
        let guard = NoStalls::start("assert_no_stalls", threshold, place);
        // A root: a test is no task.
        let output = guard.detector().watched_root("assert_no_stalls", future).await;
        drop(guard);
        output
    }
}
