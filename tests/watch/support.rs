//! Runtimes, detectors and their metrics.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tower_stall::{Stall, StallDetector};

/// For what must happen: long enough for the busiest machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn multi_thread(workers: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(workers).enable_all().build().expect("a runtime")
}

pub(crate) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A detector with defaults on `runtime`, and an admin server.
pub(crate) fn detector(runtime: &Runtime) -> StallDetector {
    let _inside = runtime.enter();
    StallDetector::builder().admin(([127, 0, 0, 1], 0)).start().expect("a detector")
}

pub(crate) fn block(time: Duration) {
    std::thread::sleep(time);
}

/// Waits for `what` and returns it.
#[track_caller]
pub(crate) fn wait_for<T>(name: &str, mut what: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = what() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "{name} did not come within {LIMIT:?}");
        std::thread::sleep(ms(5));
    }
}

/// Waits for the only stall there is.
#[track_caller]
pub(crate) fn the_stall(stall: &StallDetector) -> Stall {
    wait_for("a stall", || {
        let stalls = stall.stalls();
        assert!(stalls.len() <= 1, "one stall, one record: {stalls:#?}");
        stalls.into_iter().next()
    })
}

/// Waits until no stall is in progress, and returns all.
#[track_caller]
pub(crate) fn ended(stall: &StallDetector) -> Vec<Stall> {
    wait_for("the end of all stalls", || {
        let stalls = stall.stalls();
        (!stalls.is_empty() && stalls.iter().all(|stall| !stall.in_progress)).then_some(stalls)
    })
}

#[track_caller]
pub(crate) fn assert_none(stall: &StallDetector) {
    let stalls = stall.stalls();
    assert!(stalls.is_empty(), "nothing blocked, but: {stalls:#?}");
}

/// A page of metrics.
#[derive(Debug)]
pub(crate) struct Metrics(String);

/// Reads `/metrics` from outside the runtime.
pub(crate) fn scrape(stall: &StallDetector) -> Metrics {
    let address: SocketAddr = stall.admin_addr().expect("an admin server");
    let mut response = ureq::get(format!("http://{address}/metrics")).call().expect("an answer");
    Metrics(response.body_mut().read_to_string().expect("text"))
}

impl Metrics {
    /// The value of the first series of `name` whose labels contain all of `labels`
    /// (`runtime="main"`).
    pub(crate) fn get(&self, name: &str, labels: &[&str]) -> Option<f64> {
        self.0.lines().find_map(|line| {
            let rest = line.strip_prefix(name)?;
            let (series, value) = rest.rsplit_once(' ')?;
            let whole = series.is_empty() || series.starts_with('{');
            (whole && labels.iter().all(|label| series.contains(label)))
                .then(|| value.parse().expect("a number"))
        })
    }

    pub(crate) fn value(&self, name: &str, labels: &[&str]) -> f64 {
        self.get(name, labels).unwrap_or_else(|| panic!("no {name} with {labels:?} in {}", self.0))
    }
}
