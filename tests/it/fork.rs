//! A forked child can drop the detector: it has none of its threads. In a process of its
//! own, since others' threads may hold what a child waits for.

use std::time::{Duration, Instant};

use tower_stall::{Cause, StallDetector};

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
    assert_eq!(exit_code(child), Some(42));

    let after = runtime.spawn(blocking(&stall, "after the fork"));
    the_stall(&stall);
    runtime.block_on(after).expect("the parent's detector goes on");
}

/// The code that a forked child ends with.
fn exit_code(child: libc::pid_t) -> Option<i32> {
    assert!(child > 0, "forked");
    let start = Instant::now();
    loop {
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
            ended => {
                assert_eq!(ended, child, "our child");
                return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
            }
        }
    }
}

/// Blocks the calling thread under a detector, and returns what that finds for the cause.
fn cause_of_a_sleep() -> Cause {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let inside = runtime.enter();
    let stall = StallDetector::builder().admin(([127, 0, 0, 1], 0)).start().expect("a detector");
    drop(inside);
    runtime.block_on(blocking(&stall, "sleeps"));
    the_stall(&stall).cause
}

/// Its thread has another number than the thread of the parent that forked it.
#[cfg(target_os = "linux")]
#[test]
fn a_forked_child_that_starts_a_detector_is_watched_by_its_own_numbers() {
    let test = "fork::a_forked_child_that_starts_a_detector_is_watched_by_its_own_numbers";
    child::run(test, &[], || {
        assert_eq!(cause_of_a_sleep(), Cause::Sleep);
        // SAFETY: no thread of this process holds a lock by now but the test harness, which waits.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let found = std::panic::catch_unwind(cause_of_a_sleep);
            let code = if matches!(found, Ok(Cause::Sleep)) { 42 } else { 1 };
            // SAFETY: ends the child at once, without running what the parent registered.
            unsafe { libc::_exit(code) };
        }
        assert_eq!(exit_code(child), Some(42));
    });
}
