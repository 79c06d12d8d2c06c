//! The first plain task of a process that blocks: no stack had names before, and which threads are workers
//! may not be known yet. It is found though it is over by the time that the names are there.

use std::hint::spin_loop;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::Cause;

use crate::support::child;
use crate::support::detector::*;

/// Processes for each test.
const PROCESSES: usize = 6;
/// How long the task blocks.
const BLOCK: Duration = ms(600);
/// One test at a time: others that compute would take the CPU from it.
static ONE: Mutex<()> = Mutex::new(());
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

/// Starts a detector, waits, and spawns a task that blocks. Returns whether its stall was found: then all
/// of it must be right.
#[track_caller]
fn is_found(runtime: &Runtime, after: Duration, block: fn(), cause: Cause, function: &str) -> bool {
    let stall = detector(runtime);
    let took = runtime.block_on(async {
        tokio::time::sleep(after).await;
        let start = Instant::now();
        tokio::spawn(async move { block() }).await.expect("no panic");
        start.elapsed()
    });
    let start = Instant::now();
    let found = loop {
        let mut stalls = own(&stall).into_iter();
        match stalls.find(|stall| !stall.in_progress && stall.is_complete()) {
            Some(found) => break found,
            None if start.elapsed() > LIMIT / 4 => return false,
            None => std::thread::sleep(ms(10)),
        }
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
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if crate::support::breakpoints_are_allowed() {
        child::run_in_most(test, PROCESSES, || {
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
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    child::run_in_most(test, PROCESSES, || {
        is_found(&multi_thread(2), after, sleeps, Cause::Sleep, "watch::first::sleeps")
    });
}
