//! A scan's cost is linear in the slots, and at most 50 µs for 4,096 of them.
//!
//! Slots stand for threads that poll marked futures. Idle: no poll since the last scan. Open: one
//! slot in a hundred is inside a poll (at least one). Moved: every slot has polled since the last
//! scan, as in a service under load with that many threads.

use std::time::Instant;

use tower_stall::BenchScans;
use tower_stall_benches::{Rounds, Target, print_head, stay_on_one_core};

#[derive(Clone, Copy, Debug)]
enum Slots {
    Idle,
    Open,
    Moved,
}

fn main() {
    print_head("watchdog_scan");
    stay_on_one_core();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().expect("a runtime");
    for slots in [Slots::Idle, Slots::Open, Slots::Moved] {
        let names = ["1 slot", "16 slots", "256 slots", "4096 slots"];
        let contenders = [0, 1, 2, 3].map(|at| (names[at], at));
        let mut scans = [1, 16, 256, 4096].map(|count| {
            let mut scans = BenchScans::new(count, runtime.handle());
            if matches!(slots, Slots::Open) {
                scans.open(100);
            }
            (scans, 1_000_000 / (count + 100))
        });
        let rounds = Rounds::run("µs a scan", &contenders, |at| {
            let (scans, times) = &mut scans[at];
            microseconds(scans, *times, slots)
        });
        println!("{slots:?}");
        rounds.print(names[0]);
        if !matches!(slots, Slots::Moved) {
            Target::AtMost(50.0).check("4096 slots, µs", rounds.alone(names[3]));
            // Linear: sixteen times the slots, at most sixteen times the time, and a fifth for
            // memory that no longer fits the nearest cache.
            Target::AtMost(16.0 * 1.2)
                .check("4096 against 256 slots", rounds.ratio(names[3], names[2]));
            println!();
        }
    }
}

/// One scan's time, the median of many being left to the rounds.
fn microseconds(scans: &mut BenchScans, times: usize, slots: Slots) -> f64 {
    let mut total = 0.0;
    for _ in 0..times {
        if matches!(slots, Slots::Moved) {
            scans.poll();
        }
        let start = Instant::now();
        scans.scan();
        total += start.elapsed().as_secs_f64() * 1e6;
    }
    total / times as f64
}
