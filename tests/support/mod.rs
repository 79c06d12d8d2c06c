//! What the tests share: a runtime with a detector, ways to block it, ways to look at it.
//!
//! The tests wait for events, never for luck: a blocking handler blocks until the detector shows
//! it (or a generous limit is over, which fails the test), and what must not happen is looked
//! for after something later has been seen.
#![allow(dead_code, reason = "each test binary uses a part")]

pub(crate) mod child;
pub(crate) mod events;
pub(crate) mod quota;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::{Builder, Stall, StallDetector};

/// For what must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);
/// The threshold of a [`Rig`], unless set.
pub(crate) const THRESHOLD: Duration = Duration::from_millis(100);
/// A [`Block`] lasts at least that long, and
const BLOCK: Duration = Duration::from_millis(400);
/// a stall that lasted that long was one of them and no noise of a busy machine.
const LONG: Duration = Duration::from_millis(300);

/// Waits until `condition` holds; panics when `limit` is over.
#[track_caller]
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) {
    wait_for(limit, || condition().then_some(()));
}

/// Waits until there is something; panics when `limit` is over.
#[track_caller]
pub(crate) fn wait_for<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "did not happen within {limit:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Blocks the calling thread until `condition` holds, at most for [`LIMIT`]: the test asserts
/// afterwards what it waited for.
///
/// It sleeps for most of the time, so that its cause is that and not that the machine is busy.
pub(crate) fn block_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(25));
        if condition() {
            break;
        }
    }
}

/// Whether a stall is the program's own. On a busy machine there can be others.
pub(crate) fn is_own(stall: &Stall) -> bool {
    !stall.cause.is_environment()
}

/// Whether the system counts breakpoints; without that nothing proves that a plain task computes
/// in one poll.
pub(crate) fn breakpoints_are_allowed() -> bool {
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
    let level = level.ok().and_then(|level| level.trim().parse::<i32>().ok());
    let allowed = level.is_some_and(|level| level <= 2);
    if !allowed {
        eprintln!("skipped: perf_event_paranoid is {level:?}, more than 2");
    }
    allowed
}

/// A multi-thread runtime, or a current-thread runtime for 0 workers.
pub(crate) fn runtime(workers: usize) -> Runtime {
    let mut builder = match workers {
        0 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    builder.worker_threads(workers.max(1)).enable_all().build().expect("a runtime")
}

/// A runtime under the eyes of a detector.
pub(crate) struct Rig {
    // Dropped first.
    pub(crate) stall: Arc<StallDetector>,
    pub(crate) runtime: Runtime,
}

impl Rig {
    /// A detector with [`THRESHOLD`], an admin server and what `set` sets, on a new runtime.
    pub(crate) fn new(workers: usize, set: impl FnOnce(Builder) -> Builder) -> Self {
        let runtime = runtime(workers);
        let builder = StallDetector::builder().threshold(THRESHOLD);
        #[cfg(feature = "admin")]
        let builder = builder.admin((Ipv4Addr::LOCALHOST, 0));
        let stall = runtime.block_on(async { set(builder).start() }).expect("a detector");
        Self { stall: Arc::new(stall), runtime }
    }

    /// What blocks until it is seen under that label.
    pub(crate) fn block(&self, handler: &'static str) -> Block {
        Block { stall: Arc::clone(&self.stall), handler }
    }

    /// Runs a future as a task of the runtime, to its end.
    pub(crate) fn run<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.block_on(self.runtime.spawn(future)).expect("no panic")
    }

    /// Blocks twice, as `first` and as `second`, and waits until both are recorded and over.
    #[track_caller]
    pub(crate) fn block_twice(&self) {
        for name in ["first", "second"] {
            let block = self.block(name);
            self.run(self.stall.watched(name, async move { block.run() }));
        }
        wait_until(LIMIT, || {
            let stalls = self.long_stalls();
            stalls.len() == 2 && stalls.iter().all(|stall| !stall.in_progress)
        });
    }

    /// The stalls of [`Block`]s, newest first.
    pub(crate) fn long_stalls(&self) -> Vec<Stall> {
        let stalls = self.stall.stalls().into_iter();
        stalls.filter(|stall| stall.duration >= LONG && is_own(stall)).collect()
    }

    /// Waits for the end of the one stall of a [`Block`] and checks that it was recorded once,
    /// for that handler.
    #[track_caller]
    pub(crate) fn one_stall(&self, handler: &str) -> Stall {
        let ended = wait_for(LIMIT, || {
            let mut stalls = self.long_stalls().into_iter();
            stalls.find(|stall| stall.handler == handler && !stall.in_progress)
        });
        let all = self.long_stalls();
        assert_eq!(all.len(), 1, "one block, one record: {all:#?}");
        ended
    }

    /// Serves on a free port, in a task of the runtime.
    pub(crate) fn serve(&self, app: axum::Router) -> SocketAddr {
        let bind = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = self.runtime.block_on(bind).expect("a port");
        let address = listener.local_addr().expect("an address");
        self.runtime.spawn(async move { axum::serve(listener, app).await });
        address
    }

    /// The page of metrics.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        scrape(self.stall.admin_addr().expect("an admin server"))
    }

    /// A metric on that page.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        metric(&self.metrics(), name, labels)
    }
}

/// Blocks its thread until the detector shows the stall, while it lasts, under the right label.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    stall: Arc<StallDetector>,
    handler: &'static str,
}

impl Block {
    pub(crate) fn run(&self) {
        let start = Instant::now();
        let is_it = |stall: &Stall| {
            stall.in_progress && stall.handler == self.handler && stall.duration >= LONG
        };
        block_until(|| self.stall.stalls().iter().any(is_it));
        std::thread::sleep(BLOCK.saturating_sub(start.elapsed()));
    }
}

/// An HTTP client for plain threads. Answers of every status are answers.
pub(crate) fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder();
    config.http_status_as_error(false).timeout_global(Some(LIMIT)).build().into()
}

/// Status and body of a page.
#[track_caller]
pub(crate) fn fetch(address: SocketAddr, path: &str) -> (u16, String) {
    let mut answer = client().get(format!("http://{address}{path}")).call().expect("an answer");
    let body = answer.body_mut().read_to_string().expect("a text");
    (answer.status().as_u16(), body)
}

/// The page of metrics at an admin address.
#[track_caller]
pub(crate) fn scrape(admin: SocketAddr) -> String {
    let (status, page) = fetch(admin, "/metrics");
    assert_eq!(status, 200, "{page}");
    page
}

/// One sample of a page of metrics.
#[derive(Debug)]
pub(crate) struct Sample<'a> {
    pub(crate) name: &'a str,
    pub(crate) labels: Vec<(&'a str, &'a str)>,
    pub(crate) value: f64,
}

/// All samples of a page. (No label value of ours has a quote or a comma in it.)
pub(crate) fn samples(page: &str) -> impl Iterator<Item = Sample<'_>> {
    page.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(|line| {
        let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
        let (name, labels) = match series.split_once('{') {
            None => (series, ""),
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("a closing brace")),
        };
        let labels = labels.split(',').filter(|label| !label.is_empty());
        let labels = labels
            .map(|label| {
                let (name, value) = label.split_once('=').expect("a label has a value");
                (name, value.trim_matches('"'))
            })
            .collect();
        Sample { name, labels, value: value.parse().expect("a number") }
    })
}

/// The sum of the series of that name with these labels, and whatever others; `None` if there
/// are none.
pub(crate) fn metric(page: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let is_it = |sample: &Sample<'_>| {
        sample.name == name && labels.iter().all(|label| sample.labels.contains(label))
    };
    samples(page).filter(is_it).map(|sample| sample.value).reduce(|sum, value| sum + value)
}

/// The same with labels as they are written (`runtime="main"`).
pub(crate) fn find(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    let values = page.lines().filter_map(|line| {
        let (series, value) = line.strip_prefix(name)?.rsplit_once(' ')?;
        let whole = series.is_empty() || series.starts_with('{');
        (whole && labels.iter().all(|label| series.contains(label)))
            .then(|| value.parse::<f64>().expect("a number"))
    });
    values.reduce(|sum, value| sum + value)
}
