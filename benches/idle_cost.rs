//! What an idle service pays for the detector: at most 0.1 % of a core and 10 wake-ups a second.
//!
//! All on a runtime of 4 workers without any request: nothing at all; the bare minimum of a watch
//! at the usual pace, which is a thread that sleeps 25 ms at a time and an interval of 25 ms; a
//! detector that keeps its usual pace; and one with its defaults, which slows down. Each detector
//! has its admin server.
//!
//! `STALL_BENCH_SECONDS` is the measured time for each in all, 44 by default. Before each of its 22
//! turns, the service is left alone for 2 s.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::StallDetector;
use tower_stall_benches::{Estimate, Rounds, Target, print_head, process_cpu, wake_ups};

const TICK: Duration = Duration::from_millis(25);
/// The detector slows down after a second, and writes what it found up to a second later.
const WARM_UP: Duration = Duration::from_secs(2);
const TURNS: u32 = 22;

const NOTHING: &str = "nothing";
const BARE: &str = "bare minimum at 25 ms";
const USUAL: &str = "detector, usual pace";
const OURS: &str = "detector";

fn main() {
    print_head("idle_cost");
    let seconds = std::env::var("STALL_BENCH_SECONDS").ok();
    let seconds = seconds.map_or(44, |seconds| seconds.parse().expect("a number of seconds"));
    let turn = Duration::from_secs(seconds) / TURNS;
    let contenders = [NOTHING, BARE, USUAL, OURS].map(|name| (name, name));
    let mut woken: HashMap<_, Vec<f64>> = HashMap::new();
    let rounds = Rounds::run("ms of CPU time a minute", &contenders, |name| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("a runtime");
        let idle = match name {
            BARE => bare(&runtime, turn),
            USUAL => detector(&runtime, turn, Duration::ZERO),
            OURS => detector(&runtime, turn, tower_stall::Builder::DEFAULT_IDLE_INTERVAL),
            _ => Idle::measure(turn),
        };
        woken.entry(name).or_default().push(idle.wake_ups);
        idle.cpu
    });
    rounds.print(NOTHING);
    println!("wake-ups a second");
    let mut wake_ups = |name| Estimate::of(woken.remove(name).unwrap_or_default());
    for name in [NOTHING, BARE, USUAL] {
        println!("{name:24} {}", wake_ups(name));
    }
    let ours = wake_ups(OURS);
    println!("{OURS:24} {ours}");
    println!();
    let claim = "ms of CPU time a minute (0.1 % of a core)";
    rounds.check_over(Target::AtMost(60.0), claim, OURS, NOTHING);
    Target::AtMost(10.0).check_value("wake-ups a second", ours.median);
}

/// What an idle process took.
struct Idle {
    /// Milliseconds of CPU time a minute.
    cpu: f64,
    /// How often a second one of its threads was woken.
    wake_ups: f64,
}

impl Idle {
    fn measure(turn: Duration) -> Self {
        std::thread::sleep(WARM_UP);
        let (start, cpu, woken) = (Instant::now(), process_cpu(), wake_ups());
        std::thread::sleep(turn);
        let (time, cpu) = (start.elapsed().as_secs_f64(), process_cpu() - cpu);
        // The one of this thread, from its sleep, is not the service's.
        let woken = wake_ups() - woken - 1;
        Self { cpu: cpu.as_secs_f64() / time * 60_000.0, wake_ups: woken as f64 / time }
    }
}

fn bare(runtime: &Runtime, turn: Duration) -> Idle {
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
    let taken = Idle::measure(turn);
    stop.store(true, Ordering::Relaxed);
    sleeper.join().expect("the thread ends");
    taken
}

fn detector(runtime: &Runtime, turn: Duration, idle_interval: Duration) -> Idle {
    let _inside = runtime.enter();
    let builder = StallDetector::builder().idle_interval(idle_interval);
    let _stall = builder.admin(([127, 0, 0, 1], 0)).start().expect("the detector starts");
    Idle::measure(turn)
}
