//! A subscriber that writes to a pipe nobody reads: detection, the store and `/metrics` go on, and
//! a drop comes back. A process of its own, since it is its standard output that is stuck.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::child;
use crate::support::{LIMIT, Rig, wait_until};

/// The least a pipe takes on the systems we know.
const PIPE: usize = 4096;

/// Writes to the standard output until that blocks.
fn fill_stdout() {
    let written = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&written);
    std::thread::spawn(move || {
        let mut stdout = std::io::stdout().lock();
        while stdout.write_all(&[b'.'; 1023]).and_then(|()| stdout.write_all(b"\n")).is_ok() {
            count.fetch_add(1024, Ordering::Release);
        }
    });
    let mut last = 0;
    wait_until(LIMIT, || {
        std::thread::sleep(Duration::from_millis(300));
        let now = written.load(Ordering::Acquire);
        std::mem::replace(&mut last, now) == now && now >= PIPE
    });
}

#[test]
fn detection_goes_on_beside_a_log_that_blocks() {
    child::run_with_stuck_stdout(
        "stuck_stdout::detection_goes_on_beside_a_log_that_blocks",
        || {
            tracing_subscriber::fmt().with_writer(std::io::stdout).init();
            let rig = Rig::new(2, |builder| builder);
            fill_stdout();
            rig.block_twice();
            let labels = [("runtime", "main"), ("handler", "second")];
            assert_eq!(rig.metric("tokio_stalls_total", &labels), Some(1.0));
            let start = Instant::now();
            drop(rig.stall);
            let took = start.elapsed();
            assert!(took >= Duration::from_millis(900), "the log was not stuck at all: {took:?}");
            assert!(
                took < Duration::from_secs(5),
                "the drop has a limit of a second, took {took:?}"
            );
            std::process::exit(0);
        },
    );
}
