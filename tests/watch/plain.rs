//! Plain tasks, without layer or mark: one that blocks is a stall once that is proven.
#![cfg(feature = "capture")]

use std::hint::spin_loop;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::{Cause, Stall, StallDetector};

use crate::support;
use crate::support::detector::*;

const UNATTRIBUTED: &str = "unattributed";

fn is_it(stall: &Stall) -> bool {
    stall.handler == UNATTRIBUTED && stall.in_progress
}

#[inline(never)]
fn sleeps_until_seen(stall: &StallDetector) {
    let seen = || stall.stalls().iter().any(is_it);
    let start = Instant::now();
    while !seen() && start.elapsed() < LIMIT / 2 {
        std::thread::sleep(ms(1000));
    }
}

#[inline(never)]
fn spins_until_seen(stall: &StallDetector) {
    let seen = || stall.stalls().iter().any(is_it);
    let start = Instant::now();
    while !seen() && start.elapsed() < LIMIT / 2 {
        (0..10_000).for_each(|_| spin_loop());
    }
}

/// Blocks for that time, and again until a thread was sampled.
#[track_caller]
fn block_until_looked_at(stall: &StallDetector, time: Duration) {
    let captures = || scrape(stall).value("tower_stall_captures_total", &[]);
    support::wait_until(LIMIT, || {
        block(time);
        captures() >= 1.0
    });
}

/// Runs `block` in a plain task and returns its stall, once it has ended.
#[track_caller]
fn the_stall_of(runtime: &Runtime, block: fn(&StallDetector)) -> Stall {
    let stall = Arc::new(detector(runtime));
    let found = wait_for(4 * LIMIT, || {
        // Which threads run the workers is learned meanwhile.
        runtime.block_on(async { tokio::time::sleep(ms(500)).await });
        let theirs = Arc::clone(&stall);
        let task = runtime.spawn(async move { block(&theirs) });
        runtime.block_on(task).expect("no panic");
        let mut stalls = own(&stall).into_iter();
        stalls.find(|stall| stall.handler == UNATTRIBUTED)
    });
    let found = wait_for(LIMIT, || {
        let mut stalls = own(&stall).into_iter();
        stalls.find(|stall| stall.id == found.id && !stall.in_progress)
    });
    assert!(found.duration >= ms(100), "{found:#?}");
    let labels = [r#"handler="unattributed""#];
    wait_for(LIMIT, || scrape(&stall).get("tokio_stall_site_seconds_total", &labels));
    support::wait_until(LIMIT, || scrape(&stall).value("tokio_workers_stalled", &[]) == 0.0);
    found
}

#[test]
fn one_that_sleeps_is_a_stall_with_its_line() {
    let found = the_stall_of(&multi_thread(2), sleeps_until_seen);
    assert_eq!((found.cause, found.workers), (Cause::Sleep, 2), "{found:#?}");
    assert!(found.worker.is_some_and(|worker| worker < 2), "{found:#?}");
    let site = found.site.expect("a site");
    assert_eq!(site.function, "watch::plain::sleeps_until_seen");
    assert!(site.file.is_some_and(|file| file.ends_with("tests/watch/plain.rs")));
}

#[test]
fn one_that_computes_is_a_stall_with_its_function() {
    if !support::breakpoints_are_allowed() {
        return;
    }
    let found = the_stall_of(&multi_thread(2), spins_until_seen);
    assert_eq!(found.cause, Cause::Cpu, "{found:#?}");
    let site = found.site.expect("a site");
    assert_eq!(site.function, "watch::plain::spins_until_seen");
}

#[test]
fn one_on_a_current_thread_runtime_is_a_stall_too() {
    let found = the_stall_of(&current_thread(), sleeps_until_seen);
    assert_eq!((found.cause, found.worker), (Cause::Sleep, Some(0)), "{found:#?}");
}

#[test]
fn its_stall_ends_with_the_runtime() {
    let runtime = multi_thread(2);
    let stall = Arc::new(detector(&runtime));
    let let_go = Arc::new(AtomicBool::new(false));
    let seen = || stall.stalls().iter().any(is_it);
    wait_for(4 * LIMIT, || {
        // Which threads run the workers is learned meanwhile.
        block(ms(500));
        let theirs = Arc::clone(&let_go);
        runtime.spawn(async move {
            let start = Instant::now();
            while !theirs.load(Ordering::Acquire) && start.elapsed() < LIMIT / 4 {
                block(ms(500));
            }
        });
        let start = Instant::now();
        while !seen() && start.elapsed() < LIMIT / 4 {
            block(ms(10));
        }
        seen().then_some(())
    });
    runtime.shutdown_background();
    let_go.store(true, Ordering::Release);
    wait_for(LIMIT, || stall.stalls().iter().all(|stall| !stall.in_progress).then_some(()));
}

#[test]
fn a_runtime_that_nobody_drives_has_none() {
    let runtime = current_thread();
    let stall = detector(&runtime);
    // Its ticks say which thread drives it; then that thread does other things.
    runtime.block_on(async { tokio::time::sleep(ms(200)).await });
    block_until_looked_at(&stall, ms(1500));
    let start = Instant::now();
    while start.elapsed() < ms(1500) {
        spin_loop();
    }
    assert_none(&stall);
}

#[test]
fn a_thread_that_gave_its_worker_away_has_none() {
    // Without timers there are no ticks, which would say that another thread has the worker.
    // Counters that stand still for long.
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let builder = builder.worker_threads(1).event_interval(100_000);
    let runtime = builder.build().expect("a runtime");
    let stall = detector(&runtime);
    // It is learned who runs the worker.
    block(ms(500));
    let done = Arc::new(AtomicBool::new(false));
    let (theirs, seen) = (Arc::clone(&done), stall.clone());
    let gives = runtime.spawn(async move {
        tokio::task::block_in_place(|| {
            block_until_looked_at(&seen, ms(3000));
        });
        theirs.store(true, Ordering::Release);
    });
    // The worker is busy with short polls meanwhile, so that its counters hardly move.
    let polls = runtime.spawn(async move {
        while !done.load(Ordering::Acquire) {
            let start = Instant::now();
            while start.elapsed() < ms(4) {
                spin_loop();
            }
            tokio::task::yield_now().await;
        }
    });
    runtime.block_on(async { (gives.await.expect("no panic"), polls.await.expect("no panic")) });
    let stalls = own(&stall);
    assert!(stalls.iter().all(|stall| stall.cause != Cause::Sleep), "{stalls:#?}");
}

#[test]
fn threads_for_blocking_have_none() {
    let runtime = multi_thread(1);
    let stall = detector(&runtime);
    runtime.block_on(async {
        tokio::task::spawn_blocking(|| block(ms(600))).await.expect("no panic");
    });
    assert_none(&stall);
}

#[test]
fn without_stacks_nothing_is_proven() {
    let runtime = multi_thread(1);
    let stall = {
        let _inside = runtime.enter();
        let builder = StallDetector::builder().capture(tower_stall::Capture::Off);
        builder.admin(([127, 0, 0, 1], 0)).start().expect("a detector")
    };
    let stall = Arc::new(stall);
    let theirs = Arc::clone(&stall);
    // Before its first tick the counters of a worker say nothing.
    let ticks = || scrape(&stall).get("tokio_event_loop_lag_seconds_count", &[]) >= Some(2.0);
    support::wait_until(LIMIT, ticks);
    let is_saturated = move || scrape(&theirs).value("tokio_workers_saturated", &[]) >= 1.0;
    let task = runtime.spawn(async move {
        let mut saturated = false;
        support::block_until(|| {
            saturated = is_saturated();
            saturated
        });
        saturated
    });
    assert!(runtime.block_on(task).expect("no panic"), "it is seen to be busy");
    assert_none(&stall);
}
