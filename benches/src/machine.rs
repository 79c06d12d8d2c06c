//! Where and how a measurement was made.

use std::process::Command;
use std::time::Duration;

use tokio::runtime::Runtime;
use tower_stall::StallDetector;

use super::cores;

/// Prints the command, the machine and the toolchain.
pub fn print_head(bench: &str) {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let cores = cores();
    let version = Command::new("rustc").arg("--version").output().ok();
    let version = version.and_then(|output| String::from_utf8(output.stdout).ok());
    let rustc = version.as_deref().map_or("rustc unknown", str::trim);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    println!("$ cargo bench -p tower-stall-benches --bench {bench}");
    println!("{model}, {cores} cores, load {load} at the start; {rustc}");
    println!();
}

/// A runtime with that many workers, and a detector with defaults on it.
///
/// # Panics
///
/// Where either cannot be made.
pub fn watched_runtime(workers: usize) -> (Runtime, StallDetector) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .expect("a runtime");
    let stall = {
        let _inside = runtime.enter();
        StallDetector::builder().start().expect("the detector starts")
    };
    (runtime, stall)
}

/// CPU time of this process so far, all threads.
#[must_use]
pub fn process_cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists on every Unix, and `time` is ours to write to.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0, "the process has a CPU clock");
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// How often the threads of this process that still run have given up their CPU to wait: each of
/// these waits ends with a wake-up. 0 where the system does not tell.
#[must_use]
pub fn wake_ups() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let waits = tasks.filter_map(|task| {
        let status = std::fs::read_to_string(task.path().join("status")).ok()?;
        let mut lines = status.lines();
        lines
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?
            .trim()
            .parse::<u64>()
            .ok()
    });
    waits.sum()
}
