//! The end of a guard: what is still open then is not missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tower_stall::testing::{NoStalls, assert_no_stalls};

use crate::blocks::{THRESHOLD, assert_says, failure, on_each_kind, sleeps};
use crate::support::{LIMIT, runtime};

#[test]
fn what_blocks_when_it_ends_is_found_whether_it_was_a_stall_by_then_or_not() {
    let runtime = runtime(2);
    for head_start in [0, 10, 45, 50, 55, 60, 65, 100, 200] {
        let let_go = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&let_go);
        let (begun, begins) = oneshot::channel::<()>();
        let blocks = async move {
            drop(begun);
            let start = Instant::now();
            while !theirs.load(Ordering::Acquire) && start.elapsed() < LIMIT {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        let text = failure(&runtime, async {
            let guard = NoStalls::new(THRESHOLD);
            tokio::spawn(guard.detector().watched("import", blocks));
            begins.await.expect_err("it is dropped");
            tokio::time::sleep(Duration::from_millis(head_start)).await;
        });
        let_go.store(true, Ordering::Release);
        assert_says(&text, "NoStalls at ", &["\nimport has blocked worker "]);
    }
}

#[test]
fn what_ends_before_the_threshold_is_waited_for_which_is_no_stall_to_others() {
    let other = runtime(1);
    on_each_kind(|runtime| {
        let test = async {
            let guard = NoStalls::new(LIMIT * 2);
            guard.watch("other", other.handle());
            let (begun, begins) = oneshot::channel::<()>();
            let blocks = async move {
                drop(begun);
                sleeps();
            };
            other.spawn(guard.detector().watched("import", blocks));
            begins.await.expect_err("it is dropped");
            let start = Instant::now();
            drop(guard);
            start.elapsed()
        };
        let waited = runtime.block_on(assert_no_stalls(THRESHOLD, test));
        assert!(waited > THRESHOLD * 2 && waited < LIMIT, "{waited:?}");
    });
}
