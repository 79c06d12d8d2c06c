//! The first plain task of a process that blocks: no stack had names before, and which threads are workers
//! may not be known yet. It is found though it is over by the time that the names are there.

use std::hint::spin_loop;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::Cause;

use crate::support::child;
use crate::support::detector::*;
use crate::support::schedstat::{detector_threads, waited, waited_for_cpu};

/// Processes for each test.
const PROCESSES: usize = 4;
/// How long the task blocks.
const BLOCK: Duration = ms(600);
/// A machine that is later has no CPU for us.
const LATE: Duration = ms(50);
/// As long as a service is not idle.
const SHORT: Duration = ms(300);

#[inline(never)]
fn computes() {
    let start = Instant::now();
    while start.elapsed() < BLOCK {
        (0..100_000).for_each(|_| spin_loop());
    }
}

#[inline(never)]
fn sleeps() {
    std::thread::sleep(BLOCK);
}

/// Starts a detector, waits, and spawns a task that blocks. Its stall must be found, unless the machine has
/// no CPU for the task or its watchers: then it may be `false`.
#[track_caller]
fn is_found(runtime: &Runtime, after: Duration, block: fn(), cause: Cause, function: &str) -> bool {
    std::thread::spawn(watch_lateness);
    let stall = detector(runtime);
    let (took, without_cpu) = runtime.block_on(async {
        tokio::time::sleep(after).await;
        let task = async move {
            let (start, waited, watchers) = (Instant::now(), waited_for_cpu(), watchers_waited());
            block();
            let watchers = watchers_waited().saturating_sub(watchers);
            (start.elapsed(), watchers.max(waited_for_cpu() - waited))
        };
        tokio::spawn(task).await.expect("no panic")
    });
    let late = ms(LATENESS.load(Relaxed));
    let starved = without_cpu.max(late).max(took - BLOCK) > LATE;
    let start = Instant::now();
    let found = loop {
        let mut stalls = own(&stall).into_iter();
        match stalls.find(|stall| !stall.in_progress && stall.is_complete()) {
            Some(found) => break found,
            None if starved && start.elapsed() > ms(5000) => return false,
            None => assert!(start.elapsed() < LIMIT, "no record: {:#?}", stall.stalls()),
        }
        std::thread::sleep(ms(10));
    };
    assert_eq!(own(&stall).len(), 1, "one stall, one record");
    assert_eq!((&*found.handler, found.cause), ("unattributed", cause), "{found:#?}");
    assert!(found.duration >= ms(100) && found.duration <= took, "{took:?}: {found:#?}");
    let site = found.site.as_ref().expect("a site");
    assert_eq!(site.function, function);
    assert!(site.file.as_ref().is_some_and(|file| file.ends_with("tests/watch/first.rs")));
    assert!(site.line.is_some());
    true
}

/// How long the detector's threads were ready to run and others had the CPU, in all.
fn watchers_waited() -> Duration {
    detector_threads().into_iter().map(waited).sum()
}

/// How late a thread that only sleeps was at most, in milliseconds.
static LATENESS: AtomicU64 = AtomicU64::new(0);

fn watch_lateness() {
    loop {
        let start = Instant::now();
        std::thread::sleep(ms(5));
        let late = start.elapsed().saturating_sub(ms(5));
        LATENESS.fetch_max(late.as_millis() as u64, Relaxed);
    }
}

#[test]
fn one_that_computes_at_once() {
    computes_after("first::one_that_computes_at_once", Duration::ZERO, || multi_thread(2));
}

#[test]
fn one_that_computes_later() {
    computes_after("first::one_that_computes_later", SHORT, || multi_thread(2));
}

#[test]
fn one_that_computes_on_a_current_thread_runtime() {
    let test = "first::one_that_computes_on_a_current_thread_runtime";
    computes_after(test, SHORT, current_thread);
}

#[track_caller]
fn computes_after(test: &str, after: Duration, runtime: fn() -> Runtime) {
    let _all = all_cpus();
    if crate::support::breakpoints_are_allowed() {
        child::run_in_each(test, PROCESSES, || {
            is_found(&runtime(), after, computes, Cause::Cpu, "watch::first::computes")
        });
    }
}

#[test]
fn one_that_sleeps_at_once() {
    sleeps_after("first::one_that_sleeps_at_once", Duration::ZERO);
}

#[test]
fn one_that_sleeps_later() {
    sleeps_after("first::one_that_sleeps_later", SHORT);
}

#[track_caller]
fn sleeps_after(test: &str, after: Duration) {
    child::run_in_each(test, PROCESSES, || {
        is_found(&multi_thread(2), after, sleeps, Cause::Sleep, "watch::first::sleeps")
    });
}
