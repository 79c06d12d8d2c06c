//! Runtimes, detectors and their metrics.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tower_stall::{Cause, Stall, StallDetector, Watched};

pub(crate) use super::{LIMIT, wait_for};
use super::{block_until, find, is_own, runtime};

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn multi_thread(workers: usize) -> Runtime {
    runtime(workers)
}

pub(crate) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A detector with defaults on `runtime`, and an admin server.
pub(crate) fn detector(runtime: &Runtime) -> StallDetector {
    let _inside = runtime.enter();
    StallDetector::builder().admin(([127, 0, 0, 1], 0)).start().expect("a detector")
}

/// For a test that keeps all CPUs busy. One runs at a time, so that they do not take the CPUs from one another.
pub(crate) fn all_cpus() -> MutexGuard<'static, ()> {
    static ALL: Mutex<()> = Mutex::new(());
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn block(time: Duration) {
    std::thread::sleep(time);
}

/// Blocks the calling thread until so many stalls of that handler are shown, while they last.
pub(crate) fn block_until_shown(stall: &StallDetector, handler: &str, number: usize) {
    let is_it = |stall: &&Stall| stall.in_progress && stall.handler == handler && is_own(stall);
    block_until(|| stall.stalls().iter().filter(is_it).count() >= number);
}

/// A watched future that blocks its thread until its stall is shown.
pub(crate) fn blocking(
    stall: &StallDetector,
    handler: &'static str,
) -> Watched<impl Future<Output = ()> + use<>> {
    let seen = stall.clone();
    stall.watched(handler, async move { block_until_shown(&seen, handler, 1) })
}

/// The stalls that are the program's own.
pub(crate) fn own(stall: &StallDetector) -> Vec<Stall> {
    stall.stalls().into_iter().filter(is_own).collect()
}

/// Waits for the only stall there is.
#[track_caller]
pub(crate) fn the_stall(stall: &StallDetector) -> Stall {
    wait_for(LIMIT, || {
        let stalls = own(stall);
        assert!(stalls.len() <= 1, "one stall, one record: {stalls:#?}");
        stalls.into_iter().next()
    })
}

/// Waits until there are stalls and none is in progress, and returns all.
#[track_caller]
pub(crate) fn ended(stall: &StallDetector) -> Vec<Stall> {
    wait_for(LIMIT, || {
        let stalls = own(stall);
        (!stalls.is_empty() && stalls.iter().all(|stall| !stall.in_progress)).then_some(stalls)
    })
}

#[track_caller]
pub(crate) fn assert_none(stall: &StallDetector) {
    let stalls = own(stall);
    assert!(stalls.is_empty(), "nothing blocked, but: {stalls:#?}");
}

/// A page of metrics.
#[derive(Debug)]
pub(crate) struct Metrics(String);

/// Reads `/metrics` from outside the runtime.
#[track_caller]
pub(crate) fn scrape(stall: &StallDetector) -> Metrics {
    Metrics(super::scrape(stall.admin_addr().expect("an admin server")))
}

impl Metrics {
    pub(crate) fn get(&self, name: &str, labels: &[&str]) -> Option<f64> {
        find(&self.0, name, labels)
    }

    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[&str]) -> f64 {
        self.get(name, labels).unwrap_or_else(|| panic!("no {name} with {labels:?} in {}", self.0))
    }

    /// The program has not frozen that runtime. A busy machine may, for a moment: then the cause is the
    /// environment's, or nobody knows it.
    #[track_caller]
    pub(crate) fn assert_not_frozen(&self, runtime: &str) {
        for cause in Cause::ALL.into_iter().filter(|cause| !cause.is_environment()) {
            let label = format!("cause=\"{cause}\"");
            let frozen = self.value("tokio_frozen_seconds_total", &[runtime, &label]);
            let seconds = if cause == Cause::Unknown { 2.0 } else { 1.0 };
            assert!(frozen < seconds, "frozen for {frozen} s: {cause}");
        }
    }
}
