//! For tests of the plugins: waits for what must happen.

use std::time::{Duration, Instant};

/// For what must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Waits until there is something.
#[track_caller]
pub(crate) fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "did not happen within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
