//! A scan's cost is at most linear in the threads, and 4,096 of them add at most 50 µs.
//!
//! What counts is the CPU time of the watchdog's thread for each scan, from outside: waking up is
//! included, and is nearly all of it for one thread, which the others are compared with. The threads
//! poll marked futures. Idle: no poll since the last scan. Open: one thread in a hundred is inside a
//! poll (at least one). Moved: every thread has polled since the last scan, as in a service under
//! load with that many threads.

use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::Duration;

use tower_stall::{Capture, StallDetector};
use tower_stall_benches::{Rounds, Target, WatchdogThread, print_head};

/// No poll of this bench is a stall.
const THRESHOLD: Duration = Duration::from_secs(3600);
/// Small, so that thousands fit.
const STACK: usize = 64 * 1024;
/// One thread in so many is inside a poll.
const OPEN: usize = 100;

const NAMES: [&str; 4] = ["1 thread", "16 threads", "256 threads", "4096 threads"];
const COUNTS: [usize; 4] = [1, 16, 256, 4096];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Threads {
    Idle,
    Open,
    Moved,
}

impl Threads {
    /// Between two scans: short, so that a scan is measured and not what the machine has done
    /// meanwhile. Where all threads poll in between they need the time.
    fn scan_interval(self) -> Duration {
        Duration::from_micros(if self == Self::Moved { 200_000 } else { 200 })
    }

    /// How long is measured.
    fn turn(self) -> Duration {
        if self == Self::Moved { Duration::from_secs(1) } else { Duration::from_millis(400) }
    }
}

/// Threads that have polled, until they are dropped.
struct Polling {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Polling {
    fn start(stall: &StallDetector, count: usize, mode: Threads) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ready = Arc::new(Barrier::new(count + 1));
        let thread = |number: usize| {
            let (stall, stop, ready) = (stall.clone(), Arc::clone(&stop), Arc::clone(&ready));
            let stays = mode == Threads::Open && number.is_multiple_of(OPEN);
            let run = move || {
                // A root future counts without a worker.
                poll_once(&stall, || {});
                ready.wait();
                if stays {
                    poll_once(&stall, || wait_for(&stop));
                }
                while mode == Threads::Moved && !stop.load(Ordering::Relaxed) {
                    poll_once(&stall, || {});
                    std::thread::park_timeout(mode.scan_interval() / 3);
                }
                wait_for(&stop);
            };
            std::thread::Builder::new().stack_size(STACK).spawn(run).expect("a thread")
        };
        let threads = (0..count).map(thread).collect();
        ready.wait();
        Self { stop, threads }
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in &self.threads {
            thread.thread().unpark();
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("no panic");
        }
    }
}

fn wait_for(stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        std::thread::park();
    }
}

/// Polls a marked future once, which calls `inside`.
fn poll_once(stall: &StallDetector, inside: impl Fn()) {
    let future = stall.watched_root(
        "bench",
        std::future::poll_fn(|_| {
            inside();
            Poll::Ready(())
        }),
    );
    let poll = pin!(future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_ready());
}

fn main() {
    print_head("watchdog_scan");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    for mode in [Threads::Idle, Threads::Open, Threads::Moved] {
        let contenders = [0, 1, 2, 3].map(|at| (NAMES[at], COUNTS[at]));
        let rounds = Rounds::run("µs a scan", &contenders, |count| {
            let builder = StallDetector::builder().threshold(THRESHOLD).capture(Capture::Off);
            let stall = builder.scan_interval(mode.scan_interval()).start().expect("it starts");
            let _polling = Polling::start(&stall, count, mode);
            let watchdog = WatchdogThread::find();
            // The first scans meet the new threads.
            std::thread::sleep(mode.scan_interval() * 3);
            let before = watchdog.times();
            std::thread::sleep(mode.turn());
            watchdog.times().cpu_a_scan(before)
        });
        println!("{mode:?}");
        rounds.print(NAMES[0]);
        if mode != Threads::Moved {
            let target = Target::AtMost(50.0);
            rounds.check_over(target, "4096 threads over 1, µs", NAMES[3], NAMES[0]);
            // Sixteen times the threads, at most sixteen times the time, and a fifth for memory that
            // no longer fits the nearest cache.
            let target = Target::AtMost(16.0 * 1.2);
            rounds.check_ratio(target, "4096 against 256 threads", NAMES[3], NAMES[2]);
            println!();
        }
    }
}
