//! How soon a stall has its line, and what lines cost.
//!
//! The first stall of a process: ten fresh processes, each with one handler that blocks for a second.
//! The time runs from the begin of the block until the record has a site with a line. Target: the
//! threshold, a scan and 50 ms, which is 175 ms; in a build without optimization 325 ms
//! (`cargo bench -p tower-stall-benches --profile dev --bench lines`).
//!
//! Many stalls: two handlers block for 200 ms each, ten times a second for ten seconds in all. Each
//! record should have its line, and the threads that take and name stacks may use 1 % of a core.

use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::{Stall, StallDetector};
use tower_stall_benches::{Target, print_head, watched_runtime};

/// Says to a child what it is to measure.
const CHILD: &str = "STALL_BENCH_CHILD";
const FIRST: &str = "first";
const MANY: &str = "many";

const PROCESSES: usize = 10;
const BLOCK: Duration = Duration::from_secs(1);
const SHORT_BLOCK: Duration = Duration::from_millis(200);
const STALLS: u32 = 100;
const EVERY: Duration = Duration::from_millis(100);
/// Until a record is complete.
const LIMIT: Duration = Duration::from_secs(30);

fn main() {
    match std::env::var(CHILD).as_deref() {
        Ok(FIRST) => return first(),
        Ok(MANY) => return many(),
        _ => print_head("lines"),
    }
    let mut times: Vec<f64> = (0..PROCESSES).map(|_| measured(FIRST)[0]).collect();
    times.sort_by(f64::total_cmp);
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    println!("first line of a process, ms after the block began, of {PROCESSES} processes:");
    println!("    median {median:.0}, worst {worst:.0}, all {times:.0?}");
    let most = if cfg!(debug_assertions) { 325.0 } else { 175.0 };
    Target::AtMost(most).check_value("median ms until the first line", median);
    let [stalls, lines, percent] = measured(MANY)[..] else { unreachable!("three numbers") };
    println!("{stalls} stalls of two handlers, ten a second: {lines} have a line");
    println!("    stacks and names took {percent:.2} % of a core");
    Target::AtLeast(stalls).check_value("records with a line", lines);
    // Without optimization it is more than the limit for the long run: 2 s of CPU time are saved up.
    if !cfg!(debug_assertions) {
        Target::AtMost(1.0).check_value("percent of a core for stacks and names", percent);
    }
}

/// What a child prints.
fn measured(what: &str) -> Vec<f64> {
    let program = std::env::current_exe().expect("this bench");
    let output = Command::new(program).env(CHILD, what).output().expect("it runs again");
    let notes = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{notes}");
    print!("{notes}");
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().map(|number| number.parse().expect("numbers")).collect()
}

/// A service, after what it does before its first stall.
fn service() -> (Runtime, StallDetector) {
    let service = watched_runtime(4);
    std::thread::sleep(Duration::from_millis(300));
    service
}

fn first() {
    let (runtime, stall) = service();
    let (begin, begins) = channel();
    runtime.spawn(stall.watched("GET /report", async move {
        begin.send(Instant::now()).expect("it is waited for");
        std::thread::sleep(BLOCK);
    }));
    let begun = begins.recv().expect("it begins");
    let has_line = || {
        let stalls = stall.stalls();
        stalls.iter().any(|stall| stall.site.as_ref().is_some_and(|site| site.line.is_some()))
    };
    while !has_line() && begun.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_micros(500));
    }
    println!("{}", begun.elapsed().as_secs_f64() * 1000.0);
}

#[inline(never)]
fn reads_a_file() {
    std::thread::sleep(SHORT_BLOCK);
}

#[inline(never)]
fn computes() {
    let start = Instant::now();
    while start.elapsed() < SHORT_BLOCK {
        std::hint::black_box((0..1000_u64).sum::<u64>());
    }
}

fn many() {
    let (runtime, stall) = service();
    let (cpu, start) = (cpu_of_stacks(), Instant::now());
    for number in 0..STALLS {
        if number % 2 == 0 {
            runtime.spawn(stall.watched("GET /file", async { reads_a_file() }));
        } else {
            runtime.spawn(stall.watched("GET /sum", async { computes() }));
        }
        std::thread::sleep((EVERY * (number + 1)).saturating_sub(start.elapsed()));
    }
    let stalls = || stall.stalls().into_iter().filter(|stall| stall.handler != "environment");
    while stalls().any(|stall| !stall.is_complete()) && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (time, cpu) = (start.elapsed(), cpu_of_stacks() - cpu);
    let has_line = |stall: &Stall| stall.site.as_ref().is_some_and(|site| site.line.is_some());
    let (with, without): (Vec<_>, Vec<_>) = stalls().partition(has_line);
    for stall in &without {
        eprintln!("no line after {:?}: {:?}", stall.duration, stall.stack_missing);
    }
    let percent = cpu.as_secs_f64() / time.as_secs_f64() * 100.0;
    println!("{} {} {percent}", with.len() + without.len(), with.len());
}

/// CPU time of the threads that take and name stacks.
fn cpu_of_stacks() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| {
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let nanos = stat.split_whitespace().next()?.parse().ok()?;
        ["stall-capture", "stall-symbols"]
            .contains(&name.trim())
            .then_some(Duration::from_nanos(nanos))
    });
    times.sum()
}
