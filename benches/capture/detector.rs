//! The whole detector: how soon a stall is told with its stack, and how late the watchdog is
//! meanwhile.
//!
//! Of a thread that computes only its own time counts, so on a machine that is busy it is told
//! later than here.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::{Capture, Stall, StallDetector};
use tower_stall_benches::{Rounds, Target, WatchdogThread};

/// The defaults, in milliseconds.
const THRESHOLD: f64 = 100.0;
const SCAN: f64 = 25.0;

/// Longer than a stall waits for its stack, after the threshold.
const BLOCK: Duration = Duration::from_millis(400);
/// How long the hook is waited for after the end of a block.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long the watchdog is looked at, for one measurement.
const TURN: Duration = Duration::from_secs(1);

const SLEEPS: &str = "it sleeps";
const COMPUTES: &str = "it computes";

const OFF: &str = "no captures";
const ON: &str = "captures";

pub(super) fn run() {
    records();
    lateness();
}

fn records() {
    println!("from the start of a block to the call of the hook, with the named stack");
    let runtime = runtime(1);
    let (tell, told) = channel();
    let hook = move |stall: &Stall| {
        // What the environment does has no stack.
        if stall.in_progress && !stall.cause.is_environment() {
            // Nobody listens any more at the end.
            let _heard = tell.send((stall.handler.clone(), Instant::now(), stall.stack.is_some()));
        }
    };
    let stall = {
        let _inside = runtime.enter();
        StallDetector::builder().on_stall(hook).start().expect("the detector starts")
    };
    let (mut all, mut without) = (0, 0);
    let contenders = [SLEEPS, COMPUTES].map(|name| (name, name));
    let rounds = Rounds::run("ms", &contenders, |name| {
        loop {
            let handler = handler();
            let future = stall.watched(&handler, block(name == COMPUTES));
            let begin = runtime.block_on(runtime.spawn(future)).expect("it ends");
            // If it was starved for all that time it is not told.
            while let Ok((of, told, has_stack)) = told.recv_timeout(PATIENCE) {
                if of == handler {
                    all += 1;
                    without += usize::from(!has_stack);
                    return (told - begin).as_secs_f64() * 1e3;
                }
            }
        }
    });
    rounds.print(SLEEPS);
    println!("{without} of {all} without a stack");
    for name in [SLEEPS, COMPUTES] {
        rounds.check_alone(Target::AtMost(THRESHOLD + SCAN + 20.0), name, name);
    }
    println!();
}

fn lateness() {
    println!("how long a scan waits for a CPU, while three workers sleep and one computes");
    let contenders = [OFF, ON].map(|name| (name, name));
    let rounds = Rounds::run("µs a scan", &contenders, |name| {
        let runtime = runtime(4);
        // Each detector reads the debug information anew.
        let mode = if name == OFF { Capture::Off } else { Capture::Auto };
        let _inside = runtime.enter();
        let stall = StallDetector::builder().capture(mode).start().expect("the detector starts");
        let watchdog = WatchdogThread::find();
        let before = watchdog.times();
        let begin = Instant::now();
        while begin.elapsed() < TURN {
            let blocks = [true, false, false, false]
                .map(|computes| runtime.spawn(stall.watched(&handler(), block(computes))));
            for block in blocks {
                runtime.block_on(block).expect("it ends");
            }
        }
        watchdog.times().wait_a_scan(before)
    });
    rounds.print(OFF);
    // A hundredth of the time between two scans.
    rounds.check_over(Target::AtMost(SCAN * 1e3 / 100.0), "later by, µs a scan", ON, OFF);
}

fn runtime(workers: usize) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A name for each block: stacks of one handler are taken once a second.
fn handler() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("block {}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Blocks its worker and returns when it began to.
async fn block(computes: bool) -> Instant {
    let begin = Instant::now();
    if computes {
        while begin.elapsed() < BLOCK {
            black_box(());
        }
    } else {
        std::thread::sleep(BLOCK);
    }
    begin
}
