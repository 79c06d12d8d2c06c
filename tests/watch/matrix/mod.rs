//! Every shape of runtime, every way to be seen, every kind of block: the record that is expected,
//! and no other.

mod drive;
mod faults;
mod hooks;
mod odd;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tower::ServiceExt;
use tower_stall::{Stall, StallDetector};

use crate::support::*;
use drive::{Driven, Future, SPAWNED, Shape};
use faults::Fault;

/// By what a block is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Layer,
    Watched,
    Plain,
    /// A plain task, on a runtime whose builder has our hooks.
    Hook,
}

impl Mark {
    fn future(
        self,
        stall: &StallDetector,
        fault: Fault,
        block: impl FnOnce() + Send + 'static,
    ) -> Future {
        match self {
            Self::Plain | Self::Hook => Box::pin(async { block() }),
            Self::Watched => Box::pin(stall.watched(fault.name(), async { block() })),
            Self::Layer => {
                let block = Arc::new(std::sync::Mutex::new(Some(block)));
                let handler = move || {
                    let block = block.lock().expect("no panic").take().expect("one request");
                    async { block() }
                };
                let router = axum::Router::new()
                    .route(&format!("/{}/{{id}}", fault.name()), axum::routing::get(handler))
                    .layer(stall.layer());
                let request = axum::http::Request::get(format!("/{}/7", fault.name()));
                let request = request.body(axum::body::Body::empty()).expect("a request");
                Box::pin(async move {
                    let response = router.oneshot(request).await.expect("infallible");
                    assert!(response.status().is_success());
                })
            }
        }
    }

    fn handler(self, shape: Shape, fault: Fault) -> String {
        // Tokio has no hook for the tasks of a `LocalSet`.
        let hooked = cfg!(tokio_unstable) && shape != Shape::LocalSet;
        match self {
            Self::Layer => format!("GET /{}/{{id}}", fault.name()),
            Self::Watched => fault.name().into(),
            Self::Hook if hooked => {
                format!("task spawned at tests/watch/matrix/drive.rs:{SPAWNED}")
            }
            Self::Plain | Self::Hook => "unattributed".into(),
        }
    }
}

/// How often a busy machine may keep a stack from being taken in time.
const ATTEMPTS: usize = 5;

/// Runs one block, and checks what is told of it.
fn check(driven: &Driven, mark: Mark, fault: Fault) {
    let shape = driven.shape;
    let handler = mark.handler(shape, fault);
    if fault == Fault::Cpu && handler == "unattributed" && !breakpoints_are_allowed() {
        return;
    }
    let mut stall = the_stall(driven, mark, fault);
    for _ in 1..ATTEMPTS {
        if stall.stack.is_some() {
            break;
        }
        println!("{shape:?} {mark:?} {fault:?}: {:?}", stall.stack_missing);
        stall = the_stall(driven, mark, fault);
    }
    let site = stall.site.as_ref().map(|site| site.function.as_str());
    assert_eq!(
        (&*stall.handler, stall.cause, &*stall.runtime, site),
        (&*handler, fault.cause(), "main", Some(fault.site())),
        "{shape:?} {mark:?}: {stall:#?}"
    );
    assert_eq!(stall.workers, shape.workers(), "{shape:?} {mark:?}: {stall:#?}");
    assert!(stall.worker.is_some_and(|worker| worker < stall.workers), "{stall:#?}");
}

/// Runs one block, and returns the one stall it made.
fn the_stall(driven: &Driven, mark: Mark, fault: Fault) -> Stall {
    the_stall_since(Instant::now(), driven, mark, fault)
}

fn the_stall_since(begin: Instant, driven: &Driven, mark: Mark, fault: Fault) -> Stall {
    // The stack of a handler is taken once a second.
    std::thread::sleep(Duration::from_millis(if mark == Mark::Hook { 1100 } else { 0 }));
    let before = own(&driven.stall).iter().map(|stall| stall.id).max().unwrap_or(0);
    let (block, release) = fault.block(&driven.stall, before);
    driven.run(mark.future(&driven.stall, fault, block), release);
    let start = Instant::now();
    loop {
        let mut stalls = own(&driven.stall);
        stalls.retain(|stall| stall.id > before);
        let told = |stall: &Stall| !stall.in_progress && !stall.is_stack_pending();
        match &stalls[..] {
            [stall] if told(stall) => return stall.clone(),
            _ => {}
        }
        let shape = driven.shape;
        let all = driven.stall.stalls();
        let is_other = |stall: &Stall| stall.id > before && !stall.in_progress;
        let is_late = start.elapsed() > Duration::from_secs(1);
        if is_late && stalls.is_empty() && all.iter().any(is_other) {
            // The machine had no CPU for it, which the record says. Again, as long as there is time.
            assert!(begin.elapsed() < 5 * LIMIT, "{shape:?} {mark:?} {fault:?}: {all:#?}");
            return the_stall_since(begin, driven, mark, fault);
        }
        assert!(start.elapsed() < LIMIT, "{shape:?} {mark:?} {fault:?}: {stalls:#?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn own(stall: &StallDetector) -> Vec<Stall> {
    stall.stalls().into_iter().filter(is_own).collect()
}

fn every_mark_and_fault(shape: Shape) {
    for (hooks, marks) in [
        (false, &[Mark::Layer, Mark::Watched, Mark::Plain][..]),
        (true, &[Mark::Hook, Mark::Layer]),
    ] {
        let driven = Driven::new(shape, hooks);
        for mark in marks {
            for fault in [Fault::Sleep, Fault::Cpu, Fault::Lock] {
                check(&driven, *mark, fault);
            }
        }
    }
}

#[test]
fn current_thread() {
    every_mark_and_fault(Shape::CurrentThread);
}

#[test]
fn one_worker() {
    every_mark_and_fault(Shape::MultiThread(1));
}

#[test]
fn two_workers() {
    every_mark_and_fault(Shape::MultiThread(2));
}

#[test]
fn eight_workers() {
    every_mark_and_fault(Shape::MultiThread(8));
}

#[test]
fn local_set() {
    every_mark_and_fault(Shape::LocalSet);
}

#[test]
fn local_runtime() {
    every_mark_and_fault(Shape::LocalRuntime);
}
