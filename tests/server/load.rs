//! Nothing is blamed at full load, nor at rest.
//!
//! What the machine itself does to threads is told apart by a witness; the detector learns to do
//! that with the causes.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::child::{Server, has};

/// Seconds a load runs for; raised for a soak by `STALL_SOAK_SECONDS`.
pub(crate) fn seconds() -> u64 {
    let soak = std::env::var("STALL_SOAK_SECONDS").ok();
    soak.and_then(|seconds| seconds.parse().ok()).unwrap_or(5)
}

/// A thread that naps, and sees for how long the machine lets nobody run.
struct Witness {
    stop: Arc<AtomicBool>,
    longest: JoinHandle<Duration>,
}

impl Witness {
    fn start() -> Self {
        const NAP: Duration = Duration::from_millis(5);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let longest = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !stopped.load(Ordering::Acquire) {
                let start = Instant::now();
                std::thread::sleep(NAP);
                longest = longest.max(start.elapsed() - NAP);
            }
            longest
        });
        Self { stop, longest }
    }

    fn longest(self) -> Duration {
        self.stop.store(true, Ordering::Release);
        self.longest.join().expect("no panic")
    }
}

/// Wants no stall in a run in which the witness was not held up for half the threshold.
fn nothing_is_blamed(run: impl Fn() -> Server) {
    for _ in 0..4 {
        let witness = Witness::start();
        let server = run();
        let held_up = witness.longest();
        assert!(server.metric("tower_stall_watchdog_scans_total", &[]) > Some(10.0));
        let page = server.metrics();
        let blamed: Vec<_> =
            page.lines().filter(|line| line.starts_with("tokio_stalls_total")).collect();
        if blamed.is_empty() {
            return;
        }
        assert!(held_up >= Duration::from_millis(50), "held up for {held_up:?} only: {blamed:#?}");
        eprintln!("the machine held threads up for {held_up:?}: once more");
    }
    panic!("this machine holds threads up for too long to tell");
}

#[test]
fn wrk_at_saturation_is_no_stall() {
    if !has("wrk") {
        return;
    }
    for runtime in ["multi-thread", "current-thread"] {
        nothing_is_blamed(|| {
            let server = Server::start(&["--runtime", runtime, "--workers", "2"]);
            let url = format!("{}/hello", server.url);
            let output = Command::new("wrk")
                .args(["-t1", "-c64", &format!("-d{}s", seconds()), &url])
                .output()
                .expect("wrk");
            assert!(output.status.success(), "{output:?}");
            let busy = server.metric("tokio_handler_busy_seconds_total", &["GET /hello"]);
            assert!(busy.is_some(), "the layer saw the load");
            server
        });
    }
}

#[test]
fn a_service_at_rest_is_no_stall() {
    nothing_is_blamed(|| {
        let server = Server::start(&[]);
        std::thread::sleep(Duration::from_secs(seconds()));
        assert_eq!(server.metric("tokio_workers_saturated", &[]), Some(0.0));
        server
    });
}
