//! Tasks without a mark: found where a stack proves that they block.
#![cfg(all(
    feature = "capture",
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]

use std::sync::Arc;
use std::time::{Duration, Instant};

use tower_stall::testing::NoStalls;

use crate::blocks::{THRESHOLD, assert_says, failure, on_each_kind};
use crate::support::LIMIT;

const FUNCTION: &str = "testing::plain::sleeps_until_seen";

/// In long calls: that it is one is what proves it.
#[inline(never)]
fn sleeps_until_seen(guard: &NoStalls) {
    let start = Instant::now();
    while guard.stalls().is_empty() && start.elapsed() < LIMIT / 2 {
        std::thread::sleep(Duration::from_secs(1));
    }
}

#[test]
fn one_that_sleeps_fails_the_test_with_its_function() {
    on_each_kind(|runtime| {
        let text = failure(runtime, async {
            let guard = Arc::new(NoStalls::new(THRESHOLD));
            let start = Instant::now();
            while guard.stalls().is_empty() && start.elapsed() < LIMIT * 4 {
                // Which threads run the workers is learned meanwhile.
                tokio::time::sleep(Duration::from_millis(500)).await;
                let theirs = Arc::clone(&guard);
                let task = tokio::spawn(async move { sleeps_until_seen(&theirs) });
                task.await.expect("no panic");
            }
        });
        let says =
            ["\nunattributed ", "blocked worker ", ": sleep (clock_nanosleep, 1 s", FUNCTION];
        assert_says(&text, "NoStalls at ", &says);
    });
}
