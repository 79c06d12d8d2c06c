//! A forked child can drop the detector: it has none of its threads. In a process of its
//! own, since others' threads may hold what a child waits for.

use std::time::{Duration, Instant};

use tower_stall::StallDetector;

use crate::support::child;
use crate::support::detector::{blocking, the_stall};

#[test]
fn a_forked_child_drops_the_detector_at_once_and_the_parent_keeps_it() {
    child::run(
        "fork::a_forked_child_drops_the_detector_at_once_and_the_parent_keeps_it",
        &[],
        forks_and_drops,
    );
}

fn forks_and_drops() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let inside = runtime.enter();
    let stall = StallDetector::builder().start().expect("a detector");
    drop(inside);
    // SAFETY: the child only drops the detector, which takes no lock in a child, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        drop(stall);
        // SAFETY: ends the child at once, without running what the parent registered.
        unsafe { libc::_exit(42) };
    }
    assert!(child > 0, "forked");
    let start = Instant::now();
    let status = loop {
        let mut status = 0;
        // SAFETY: `status` is ours and lives through the call.
        match unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } {
            0 if start.elapsed() < Duration::from_secs(20) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            0 => {
                // SAFETY: our own child, not waited for yet.
                unsafe { libc::kill(child, libc::SIGKILL) };
                panic!("the child hangs");
            }
            ended => break (ended == child).then_some(status),
        }
    };
    let status = status.expect("our child");
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42, "{status}");

    let after = runtime.spawn(blocking(&stall, "after the fork"));
    the_stall(&stall);
    runtime.block_on(after).expect("the parent's detector goes on");
}
