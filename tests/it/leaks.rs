//! Detectors and runtimes that come and go leave nothing behind. In a process of its own, since
//! it counts what the whole process has.

use std::fs;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tower_stall::StallDetector;

use crate::support::{child, fetch};

/// What the process holds.
#[derive(Clone, Copy, Debug)]
struct Held {
    threads: usize,
    files: usize,
    kilobytes: usize,
}

fn held() -> Held {
    let count = |path| fs::read_dir(path).expect("procfs").count();
    let status = fs::read_to_string("/proc/self/status").expect("procfs");
    let resident = status.lines().find(|line| line.starts_with("VmRSS:")).expect("VmRSS");
    Held {
        threads: count("/proc/self/task"),
        files: count("/proc/self/fd"),
        kilobytes: resident.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("kB"),
    }
}

/// Waits for threads and files to be no more than `limit`: the kernel takes its time.
fn settled(limit: Held) -> Held {
    let start = Instant::now();
    loop {
        let now = held();
        let done = now.threads <= limit.threads && now.files <= limit.files;
        if done || start.elapsed() > Duration::from_secs(20) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn detector(runtime: &Runtime) -> StallDetector {
    let _inside = runtime.enter();
    StallDetector::builder().admin(([127, 0, 0, 1], 0)).start().expect("a detector")
}

/// A detector's whole life on `runtime`.
fn live(runtime: &Runtime) {
    let stall = detector(runtime);
    let layer = stall.layer();
    let work = stall.watched("work", async { tokio::task::yield_now().await });
    runtime.block_on(async { tokio::spawn(work).await }).expect("no panic");
    stall.watch("again", runtime.handle());
    drop(stall);
    drop(layer);
}

/// Detectors that live for a few ticks: the samples of their histograms are freed with them.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn no_block_is_left(main: &Runtime) {
    // SAFETY: it has no conditions.
    let allocated = || unsafe { libc::mallinfo() }.uordblks;
    let live = || {
        let stall = detector(main);
        main.block_on(async { tokio::time::sleep(Duration::from_millis(60)).await });
        drop(stall);
    };
    (0..20).for_each(|_| live());
    let before = allocated();
    (0..100).for_each(|_| live());
    let more = allocated() - before;
    assert!(more < 100 * 400, "{more} bytes more after 100 detectors");
}

#[test]
fn a_thousand_detectors_and_a_hundred_runtimes_leave_nothing_behind() {
    child::run(
        "leaks::a_thousand_detectors_and_a_hundred_runtimes_leave_nothing_behind",
        &[],
        come_and_go,
    );
}

fn come_and_go() {
    let main = runtime();
    for _ in 0..50 {
        live(&main);
    }
    let before = settled(held());
    for _ in 0..1000 {
        live(&main);
    }
    let after = settled(before);
    assert!(after.threads <= before.threads, "{before:?} {after:?}");
    assert!(after.files <= before.files, "{before:?} {after:?}");
    assert!(after.kilobytes <= before.kilobytes + 16 * 1024, "{before:?} {after:?}");

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    no_block_is_left(&main);

    // Runtimes that one detector watches, named and met.
    let stall = detector(&main);
    // It answers once all of its threads are there.
    assert_eq!(fetch(stall.admin_addr().expect("an admin server"), "/livez").0, 200);
    let with_detector = held();
    for round in 0..100 {
        let short = runtime();
        if round % 2 == 0 {
            stall.watch("short", short.handle());
        }
        let work = stall.watched("work", async { tokio::task::yield_now().await });
        short.block_on(async { tokio::spawn(work).await }).expect("no panic");
    }
    let after = settled(with_detector);
    assert!(after.files <= with_detector.files, "{with_detector:?} {after:?}");
    assert!(after.threads <= with_detector.threads, "{with_detector:?} {after:?}");
}
