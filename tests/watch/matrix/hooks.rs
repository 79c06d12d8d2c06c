//! The hooks of a user's own, and what ours see where Tokio has hooks for polls.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::{Builder, Runtime};
use tower_stall::{RuntimeBuilderExt, RuntimeHooks};

#[cfg(tokio_unstable)]
use crate::support::*;

fn runtime(hooks: RuntimeHooks) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().stall_hooks(hooks).build().expect("a runtime")
}

type Count = Arc<AtomicUsize>;

fn counting(count: &Count) -> impl Fn() + Send + Sync + 'static {
    let count = Arc::clone(count);
    move || {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn hooks_that_are_handed_over_are_called() {
    let [start, park, unpark] = [Count::default(), Count::default(), Count::default()];
    let hooks = RuntimeHooks::new()
        .on_thread_start(counting(&start))
        .on_thread_park(counting(&park))
        .on_thread_unpark(counting(&unpark));
    let runtime = runtime(hooks);
    for _ in 0..10 {
        let sleep = async { tokio::time::sleep(std::time::Duration::from_millis(5)).await };
        runtime.block_on(async { tokio::spawn(sleep).await.expect("no panic") });
    }
    drop(runtime);
    assert_eq!(start.load(Ordering::Relaxed), 1);
    let (parks, unparks) = (park.load(Ordering::Relaxed), unpark.load(Ordering::Relaxed));
    assert!(parks >= 10 && unparks >= 10 && parks.abs_diff(unparks) <= 1, "{parks} {unparks}");
}

#[cfg(tokio_unstable)]
#[test]
fn so_are_those_of_polls() {
    let [before, after] = [Count::default(), Count::default()];
    let (count_before, count_after) = (counting(&before), counting(&after));
    let hooks = RuntimeHooks::new()
        .on_before_task_poll(move |_| count_before())
        .on_after_task_poll(move |_| count_after());
    let runtime = runtime(hooks);
    runtime.block_on(async {
        for _ in 0..10 {
            tokio::spawn(tokio::task::yield_now()).await.expect("no panic");
        }
    });
    drop(runtime);
    // Each is polled twice.
    assert_eq!((before.load(Ordering::Relaxed), after.load(Ordering::Relaxed)), (20, 20));
}

/// A detector with defaults on a hooked runtime of one worker.
#[cfg(tokio_unstable)]
fn rig() -> Rig {
    let runtime = runtime(RuntimeHooks::new());
    let builder = tower_stall::StallDetector::builder().threshold(THRESHOLD);
    let stall = runtime.block_on(async { builder.start() }).expect("a detector");
    Rig { stall: Arc::new(stall), runtime }
}

/// Without a message and its backtrace: to find the names for that takes long.
#[cfg(tokio_unstable)]
fn panics() {
    std::panic::resume_unwind(Box::new("on purpose"));
}

#[cfg(tokio_unstable)]
#[test]
fn a_poll_that_panics_is_over() {
    let rig = rig();
    let task = rig.runtime.spawn(async { panics() });
    assert!(rig.runtime.block_on(task).is_err());
    std::thread::sleep(3 * THRESHOLD);
    let handler = intern(line!() + 2);
    let block = rig.block(handler);
    let task = rig.runtime.spawn(async move { block.run() });
    rig.runtime.block_on(task).expect("no panic");
    rig.one_stall(handler);
}

#[cfg(tokio_unstable)]
#[test]
fn two_detectors_each_have_its_name() {
    let first = rig();
    let inside = first.runtime.enter();
    let builder = tower_stall::StallDetector::builder().threshold(THRESHOLD);
    let second = builder.start().expect("a detector");
    drop(inside);
    let handler = intern(line!() + 2);
    let block = first.block(handler);
    let task = first.runtime.spawn(async move { block.run() });
    first.runtime.block_on(task).expect("no panic");
    first.one_stall(handler);
    let long = |stall: &tower_stall::Stall| stall.duration >= 3 * THRESHOLD;
    let stalls = wait_for(LIMIT, || {
        let stalls: Vec<_> = second.stalls().into_iter().filter(long).collect();
        (!stalls.is_empty()).then_some(stalls)
    });
    assert_eq!(stalls[0].handler, handler, "{stalls:#?}");
}

/// The name of a task that is spawned in that line of this file.
#[cfg(tokio_unstable)]
fn intern(line: u32) -> &'static str {
    format!("task spawned at tests/watch/matrix/hooks.rs:{line}").leak()
}
