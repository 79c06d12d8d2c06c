//! An idle service with the detector takes at most 1.2 times the CPU time of the bare minimum.
//!
//! The bare minimum: a thread that sleeps 25 ms at a time, and an interval of 25 ms on an
//! otherwise idle runtime of 4 workers. Ours: the same runtime with a detector at its defaults
//! and its admin server.
//!
//! `STALL_BENCH_SECONDS` is the time for each side in all, 38 by default.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::StallDetector;
use tower_stall_benches::{Rounds, Target, print_head, process_cpu};

const TICK: Duration = Duration::from_millis(25);
const WARM_UP: Duration = Duration::from_millis(150);
const TURNS: u32 = 22;

const BARE: &str = "bare minimum";
const OURS: &str = "ours";

fn main() {
    print_head("idle_cost");
    let seconds = std::env::var("STALL_BENCH_SECONDS").ok();
    let seconds = seconds.map_or(38, |seconds| seconds.parse().expect("a number of seconds"));
    let turn = Duration::from_secs(seconds) / TURNS;
    let rounds = Rounds::run("ms of CPU time a minute", &[(BARE, BARE), (OURS, OURS)], |name| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime");
        if name == BARE { bare(&runtime, turn) } else { ours(&runtime, turn) }
    });
    rounds.print(BARE);
    rounds.check_ratio(Target::AtMost(1.2), "ours to the bare minimum", OURS, BARE);
}

fn bare(runtime: &Runtime, turn: Duration) -> f64 {
    let stop = Arc::new(AtomicBool::new(false));
    let sleeper = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(TICK);
            }
        }
    });
    runtime.spawn(async {
        let mut interval = tokio::time::interval(TICK);
        loop {
            interval.tick().await;
        }
    });
    let taken = idle(turn);
    stop.store(true, Ordering::Relaxed);
    sleeper.join().expect("the thread ends");
    taken
}

fn ours(runtime: &Runtime, turn: Duration) -> f64 {
    let _inside = runtime.enter();
    let _stall =
        StallDetector::builder().admin(([127, 0, 0, 1], 0)).start().expect("the detector starts");
    idle(turn)
}

/// CPU time of the process in that time, stretched to a minute.
fn idle(turn: Duration) -> f64 {
    std::thread::sleep(WARM_UP);
    let (start, cpu) = (Instant::now(), process_cpu());
    std::thread::sleep(turn);
    let (time, cpu) = (start.elapsed(), process_cpu() - cpu);
    cpu.as_secs_f64() / time.as_secs_f64() * 60_000.0
}
