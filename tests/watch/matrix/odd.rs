//! Runtimes and futures in places where one does not expect them.

use std::sync::Arc;

use tower_stall::{Cause, RuntimeBuilderExt, RuntimeHooks, StallDetector};

use crate::support::*;

#[test]
fn a_runtime_inside_spawn_blocking() {
    let rig = Rig::new(2, |builder| builder);
    let (stall, block) = (Arc::clone(&rig.stall), rig.block("inner"));
    let inside = move || {
        let runtime = runtime(0);
        runtime.block_on(async move {
            let watched = stall.watched("inner", async move { block.run() });
            tokio::spawn(watched).await.expect("no panic");
        });
    };
    rig.run(async { tokio::task::spawn_blocking(inside).await.expect("no panic") });
    let stall = rig.one_stall("inner");
    assert_eq!((&*stall.runtime, stall.worker, stall.workers), ("runtime-2", Some(0), 1));
}

#[test]
fn a_foreign_thread_that_blocks_in_block_on_holds_up_nobody() {
    let rig = Rig::new(2, |builder| builder);
    let (stall, handle) = (Arc::clone(&rig.stall), rig.runtime.handle().clone());
    let block = rig.block("root");
    let foreign = std::thread::spawn(move || {
        let sleep = || std::thread::sleep(4 * THRESHOLD);
        handle.block_on(async { sleep() });
        handle.block_on(stall.watched("task", async { sleep() }));
        handle.block_on(stall.watched_root("root", async { block.run() }));
    });
    foreign.join().expect("no panic");
    assert_eq!(rig.one_stall("root").worker, None);
}

#[test]
fn a_plain_root_future_of_a_current_thread_runtime() {
    let rig = Rig::new(0, |builder| builder);
    let stall = wait_for(LIMIT, || {
        // Which thread drives the runtime is learnt meanwhile.
        rig.runtime.block_on(async { tokio::time::sleep(THRESHOLD).await });
        rig.runtime.block_on(async { std::thread::sleep(8 * THRESHOLD) });
        let mut stalls = rig.long_stalls().into_iter();
        stalls.find(|stall| stall.handler == "unattributed" && stall.site.is_some())
    });
    assert_eq!((stall.cause, stall.worker), (Cause::Sleep, Some(0)), "{stall:#?}");
    let site = stall.site.expect("it was looked for").function;
    assert_eq!(site, "watch::matrix::odd::a_plain_root_future_of_a_current_thread_runtime");
}

#[test]
fn a_task_that_runs_a_runtime_in_place() {
    let rig = Rig::new(2, |builder| builder);
    let stall = Arc::clone(&rig.stall);
    let outer = rig.stall.watched("outer", async move {
        tokio::task::block_in_place(|| {
            let runtime = runtime(0);
            runtime.block_on(stall.watched("inner", async { std::thread::sleep(4 * THRESHOLD) }));
        });
    });
    rig.run(outer);
    // It holds up no worker that anybody waits for, and is over before anything else is told.
    rig.block_twice();
}

#[test]
fn a_detector_may_start_before_or_after_the_runtimes_it_watches() {
    let build = |workers| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(workers).enable_all().stall_hooks(RuntimeHooks::new());
        builder.build().expect("a runtime")
    };
    let first = build(2);
    let inside = first.enter();
    let stall = Arc::new(StallDetector::builder().threshold(THRESHOLD).start().expect("it starts"));
    drop(inside);
    let second = build(1);
    stall.watch("second", second.handle());
    for (runtime, name, handler) in [(&first, "main", "one"), (&second, "second", "two")] {
        let (theirs, seen) = (Arc::clone(&stall), Arc::clone(&stall));
        let block = async move {
            block_until(|| seen.stalls().iter().any(|stall| stall.handler == handler));
        };
        let task = runtime.spawn(theirs.watched(handler, block));
        runtime.block_on(task).expect("no panic");
        let stalls = stall.stalls();
        let is_it = |stall: &&tower_stall::Stall| stall.handler == handler;
        assert_eq!(
            stalls.iter().find(is_it).map(|stall| &*stall.runtime),
            Some(name),
            "{stalls:#?}"
        );
    }
}
