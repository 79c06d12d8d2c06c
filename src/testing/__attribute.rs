//! What `#[tower_stall::test]` calls. Not public API.

use std::future::Future;
use std::panic::Location;
use std::process::Termination;
use std::time::Duration;

use super::NoStalls;

/// Runs the body of a test. `path` is that of the function, with its crate.
///
/// The stalls of a test that is meant to panic are in its message alone.
#[doc(hidden)]
#[track_caller]
#[allow(unreachable_pub, reason = "the attribute calls it")]
pub fn run<T: Termination>(
    path: &'static str,
    threshold_ms: u64,
    is_to_panic: bool,
    body: impl AsyncFnOnce(&NoStalls) -> T,
) -> impl Future<Output = T> {
    let place = Location::caller();
    // As the harness calls it.
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    async move {
        let guard = NoStalls::start(name, Duration::from_millis(threshold_ms), place);
        let guard = if is_to_panic { guard.not_reported() } else { guard };
        // A root: a test is no task.
        let output = guard.detector().watched_root(name, body(&guard)).await;
        if let Some(text) = guard.end() {
            // It says an error, which nobody would learn otherwise.
            let _ = output.report();
            panic!("{text}");
        }
        output
    }
}
