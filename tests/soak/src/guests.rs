//! Runtimes, detectors and threads that come and go, each with faults of its own.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::runtime::{Builder, Runtime};
use tower_stall::{Stall, StallDetector};

use crate::judge::{Plan, judge};
use crate::machine::{detector_threads, waited};
use crate::service::Mark;
use crate::world::{LIMIT, World, count};

/// Names of runtimes; others are met without one.
const NAMES: [&str; 3] = ["reports", "imports", "mail"];

/// A call that is the last act of its function leaves no frame of it.
fn not_the_last_call() {
    std::hint::black_box(());
}

#[inline(never)]
fn on_a_guest(lasts: Duration) {
    here!(std::thread::sleep(lasts));
    not_the_last_call();
}

#[inline(never)]
fn under_a_guest(lasts: Duration) {
    here!(std::thread::sleep(lasts));
    not_the_last_call();
}

fn plan(world: &World, name: &'static str, function: &'static str, how: String) -> Plan {
    Plan {
        id: world.next_id(),
        name,
        circumstances: how,
        trace: None,
        handler: name.to_owned(),
        cause: "sleep",
        function: Some(function),
        needs: Duration::from_millis(250),
    }
}

fn random_runtime(rng: &mut Rng) -> Runtime {
    let workers = rng.usize(..4);
    let mut builder = match workers {
        0 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(workers.max(1)).enable_all().build().expect("a runtime")
}

/// Side runtimes that are watched, or met, and dropped; some while a worker of theirs is blocked.
pub(crate) fn runtimes(world: &World, mut rng: Rng) {
    while world.stop.sleep(Duration::from_millis(rng.u64(1000..3000))) {
        let runtime = random_runtime(&mut rng);
        let name = (rng.u32(..3) > 0).then(|| NAMES[rng.usize(..NAMES.len())]);
        if let Some(name) = name {
            world.stall.watch(name, runtime.handle());
        }
        let works = world.stall.watched("guest-works", async {
            for _ in 0..20 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        runtime.block_on(async { tokio::spawn(works).await }).expect("no panic");
        if rng.bool() {
            block_on_a_guest(world, runtime, name, &mut rng);
        } else {
            drop(runtime);
        }
        count(&world.counts.runtimes);
    }
}

fn block_on_a_guest(world: &World, runtime: Runtime, name: Option<&str>, rng: &mut Rng) {
    let is_one = runtime.metrics().num_workers() == 1;
    let given_up = !is_one && rng.u32(..3) == 0;
    let lasts = Duration::from_millis(if given_up { 600 } else { rng.u64(300..600) });
    let how = format!("a runtime {name:?}, given up: {given_up}, {lasts:?}");
    let plan = plan(world, "guest-blocks", "guests::on_a_guest", how);
    let (tell, told) = channel();
    let blocks = world.stall.watched(plan.name, async move {
        let _mark = Mark::begin(tell);
        on_a_guest(lasts);
    });
    if given_up {
        runtime.spawn(blocks);
        let begin = told.recv_timeout(LIMIT).expect("it begins");
        std::thread::sleep(lasts * 3 / 4);
        runtime.shutdown_background();
        let end = told.recv_timeout(LIMIT).expect("it ends");
        world.court().add_fault(world.fault(plan, &begin, &end));
    } else {
        runtime.block_on(async { tokio::spawn(blocks).await }).expect("no panic");
        let begin = told.recv_timeout(LIMIT).expect("it has begun");
        let end = told.recv_timeout(LIMIT).expect("it has ended");
        world.court().add_fault(world.fault(plan, &begin, &end));
        drop(runtime);
    }
}

/// Further detectors, each with a fault that it alone has to find.
pub(crate) fn detectors(world: &World, mut rng: Rng) {
    while world.stop.sleep(Duration::from_millis(rng.u64(4000..8000))) {
        let runtime = random_runtime(&mut rng);
        let others = detector_threads();
        // Without a port of its own, the metrics go to the recorder of the process.
        let has_port = rng.bool();
        let start = async {
            let builder = StallDetector::builder();
            let builder = if has_port { builder.admin(([127, 0, 0, 1], 0)) } else { builder };
            builder.start()
        };
        let stall = Arc::new(runtime.block_on(start).expect("a detector"));
        let lasts = Duration::from_millis(rng.u64(300..600));
        let how = format!("a detector, with a port: {has_port}, {lasts:?}");
        let plan = plan(world, "under-a-guest", "guests::under_a_guest", how);
        let (tell, told) = channel();
        let blocks = stall.watched(plan.name, async move {
            let _mark = Mark::begin(tell);
            under_a_guest(lasts);
        });
        runtime.block_on(async { tokio::spawn(blocks).await }).expect("no panic");
        let begin = told.recv_timeout(LIMIT).expect("it has begun");
        let end = told.recv_timeout(LIMIT).expect("it has ended");
        let records = records(&stall);
        let records: Vec<_> = records.iter().map(|stall| world.record(stall)).collect();
        let mut fault = world.fault(plan, &begin, &end);
        fault.lost = world.lost(fault.begin, fault.end);
        // All that its threads have waited for a CPU: on a busy machine they begin late.
        let threads = detector_threads().into_iter().filter(|thread| !others.contains(thread));
        fault.lost.detector = threads.map(waited).max().unwrap_or_default();
        let verdict = judge(&fault, &records);
        world.court().note(&fault, verdict, &records);
        if rng.bool() {
            drop(runtime);
        }
        if let Err(error) = stall.shutdown(LIMIT) {
            world.complain(format!("a detector does not end: {error}"));
        }
        count(&world.counts.detectors);
    }
}

/// The records of a detector, once all is known of them.
fn records(stall: &StallDetector) -> Vec<Stall> {
    let start = Instant::now();
    loop {
        let stalls = stall.stalls();
        let is_done = !stalls.is_empty() && stalls.iter().all(Stall::is_complete);
        if is_done || start.elapsed() > LIMIT / 4 {
            return stalls;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Threads by the hundred.
pub(crate) fn threads(world: &World, mut rng: Rng) {
    while world.stop.sleep(Duration::from_millis(rng.u64(4000..12000))) {
        let number = rng.u64(100..400);
        let lasts = Duration::from_millis(rng.u64(100..1500));
        let threads: Vec<_> =
            (0..number).map(|_| std::thread::spawn(move || std::thread::sleep(lasts))).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        world.counts.threads.fetch_add(number, std::sync::atomic::Ordering::Relaxed);
    }
}
