//! A recorder that blocks (the recorder is one for the process, so this is a process of its own):
//! detection, the store and `/metrics` go on, and a drop comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tower_stall::StallDetector;

use crate::support::child;
use crate::support::events::Events;
use crate::support::{LIMIT, Rig, THRESHOLD, runtime, wait_until};

/// Every call blocks until the gate is open.
#[derive(Clone, Debug, Default)]
struct Gate {
    open: Arc<(Mutex<bool>, Condvar)>,
    entered: Arc<AtomicBool>,
}

impl Gate {
    fn pass(&self) {
        self.entered.store(true, Ordering::Release);
        let (open, changed) = &*self.open;
        let mut open = open.lock().expect("no panic");
        while !*open {
            open = changed.wait(open).expect("no panic");
        }
    }

    fn open(&self) {
        *self.open.0.lock().expect("no panic") = true;
        self.open.1.notify_all();
    }
}

impl Recorder for Gate {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.pass();
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.pass();
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.pass();
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.pass();
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.pass();
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.pass();
        Histogram::noop()
    }
}

#[test]
fn detection_goes_on_beside_a_recorder_that_blocks() {
    child::run(
        "blocked_recorder::detection_goes_on_beside_a_recorder_that_blocks",
        &[],
        detects_beside_it,
    );
}

fn detects_beside_it() {
    let log = Events::default();
    tracing::dispatcher::set_global_default(log.dispatch()).expect("it is the first");
    let gate = Gate::default();
    metrics::set_global_recorder(gate.clone()).expect("it is the first");

    // One detector gives its metrics to that recorder, another has its own page.
    let held = runtime(2);
    let builder = StallDetector::builder().threshold(THRESHOLD);
    let stall = Arc::new(held.block_on(async { builder.start() }).expect("a detector"));
    let rig = Rig { stall, runtime: held };
    let free = Rig::new(2, |builder| builder);
    wait_until(LIMIT, || gate.entered.load(Ordering::Acquire));

    for rig in [&rig, &free] {
        rig.block_twice();
    }
    let labels = [("runtime", "main"), ("handler", "second")];
    assert_eq!(free.metric("tokio_stalls_total", &labels), Some(1.0));
    assert!(log.all().iter().all(|event| event.field("threads").is_empty()));

    let start = Instant::now();
    drop(rig.stall);
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "the drop has a limit of one second, took {took:?}");
    let left_behind = |log: &Events| {
        let mut events = log.all().into_iter();
        events.any(|event| event.field("threads").contains("stall-reporter"))
    };
    wait_until(LIMIT, || left_behind(&log));
    gate.open();
}
