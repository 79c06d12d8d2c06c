//! Waits for what must happen. Needs nothing else, so that tests of other packages share it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// For what must happen: ten times what the slowest of it takes on a quiet machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(100);

/// A limit for this machine, which may be some times slower than usual: an emulated one, or one that does much
/// else.
pub(crate) fn for_this_machine(limit: Duration) -> Duration {
    static SLOWER: LazyLock<u32> = LazyLock::new(|| {
        let slower = std::env::var("STALL_TESTS_SLOWER").ok();
        slower.map_or(1, |slower| slower.parse().expect("a factor"))
    });
    limit * *SLOWER
}

/// Waits until there is something; panics when [`LIMIT`] is over.
#[track_caller]
pub(crate) fn wait_for<T>(look: impl FnMut() -> Option<T>) -> T {
    wait_within(LIMIT, look)
}

/// Waits until there is something; panics when `limit` is over.
#[track_caller]
pub(crate) fn wait_within<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let limit = for_this_machine(limit);
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "did not happen within {limit:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
