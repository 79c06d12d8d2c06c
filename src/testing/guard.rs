//! A whole test.

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::runtime::Handle;

use super::found::Found;
use super::report;
use crate::clock::{self, nanos};
use crate::detector::StallDetector;
use crate::layer::StallLayer;
use crate::mark::allow_blocking;
use crate::stall::Stall;
use crate::sync::lock;

/// The name under which our own waits are allowed.
pub(super) const WAITS: &str = "tower_stall::testing";
/// How long it may take, beyond the threshold, to know whether an open poll is a stall.
const DECIDE: Duration = Duration::from_secs(5);
/// How long names and stacks are waited for.
const NAMES: Duration = Duration::from_secs(10);

/// Forbids blocking for as long as it lives: when it is dropped, the test panics if anything
/// blocked for the threshold meanwhile.
///
/// ```
/// # use std::time::Duration;
/// # async fn test() {
/// let guard = tower_stall::testing::NoStalls::new(Duration::from_millis(100));
/// let app: axum::Router = axum::Router::new().layer(guard.layer());
/// tokio::spawn(guard.detector().watched("import", async { /* … */ }));
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(test());
/// ```
///
/// It has a detector of its own, which watches the runtime it was made in. It sees what is marked by
/// it: requests through [`layer`](Self::layer), futures named by its [`detector`](Self::detector),
/// on any thread; and, as `unattributed`, tasks that are not marked, if they block for some time longer
/// (see [`_documentation::testing`](crate::_documentation::testing)). The body of the test itself is no
/// task: name it, or use [`assert_no_stalls`](super::assert_no_stalls).
///
/// The message has, for each stall, handler, cause, detail, worker, how long it was, the line of your
/// own code, the fix and the stack. What [`allow_blocking`](crate::allow_blocking) marks is no stall,
/// nor is what the environment is to blame for: a machine without a free CPU, a process that was
/// suspended.
///
/// If the test panics already, the stalls are written to the standard error and the test's own panic
/// goes on.
#[derive(Debug)]
#[must_use = "stalls are looked for until this is dropped"]
pub struct NoStalls {
    detector: StallDetector,
    what: &'static str,
    place: &'static Location<'static>,
    threshold: Duration,
    /// Whether a stall is to be known outside of the test too.
    is_reported: bool,
    /// Whether it has been judged for the last time.
    is_over: bool,
    /// Stalls that the hook was called for: their details are known.
    told: Arc<Mutex<BTreeSet<u64>>>,
    /// Stalls that the test has panicked about, or was meant to have.
    settled: Mutex<BTreeSet<u64>>,
}

impl NoStalls {
    /// Watches from now on, with a detector of its own.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime; with a threshold below
    /// [`Builder::MIN_THRESHOLD`](crate::Builder::MIN_THRESHOLD); with a wrong value in a
    /// `TOWER_STALL_` variable.
    #[track_caller]
    pub fn new(threshold: Duration) -> Self {
        Self::start("NoStalls", threshold, Location::caller())
    }

    pub(super) fn start(
        what: &'static str,
        threshold: Duration,
        place: &'static Location<'static>,
    ) -> Self {
        let Ok(runtime) = Handle::try_current() else {
            panic!("{what} at {place} is outside of a Tokio runtime: use it in a #[tokio::test]")
        };
        let told = Arc::<Mutex<BTreeSet<u64>>>::default();
        let tell = Arc::clone(&told);
        let hook = move |stall: &Stall| lock(&tell).extend([stall.id]);
        let detector = StallDetector::of_test(threshold, runtime, hook)
            .unwrap_or_else(|error| panic!("{what} at {place}: {error}"));
        match detector.is_watching() {
            true => allow_blocking(WAITS, report::begin),
            false => eprintln!("{what} at {place} looks for no stalls: TOWER_STALL is off"),
        }
        let settled = Mutex::default();
        let (is_reported, is_over) = (true, false);
        Self { detector, what, place, threshold, is_reported, is_over, told, settled }
    }

    /// For a test that is meant to panic.
    #[cfg(feature = "macros")]
    pub(super) const fn not_reported(mut self) -> Self {
        self.is_reported = false;
        self
    }

    /// Ends it here. Returns the message to fail with, if there are new stalls.
    #[cfg(feature = "macros")]
    pub(super) fn end(mut self) -> Option<String> {
        allow_blocking(WAITS, || {
            let text = self.judge();
            self.is_over = true;
            drop(self);
            text
        })
    }

    /// The detector, to name futures by: `guard.detector().watched("import", future)`.
    pub fn detector(&self) -> &StallDetector {
        &self.detector
    }

    /// A layer for a router or service of yours: its requests count for the templates of their
    /// routes.
    #[must_use]
    pub fn layer(&self) -> StallLayer {
        self.detector().layer()
    }

    /// Watches a further runtime.
    pub fn watch(&self, name: &str, runtime: &Handle) {
        self.detector().watch(name, runtime);
    }

    /// The stalls so far that fail the test, newest first.
    #[must_use]
    pub fn stalls(&self) -> Vec<Stall> {
        let mut stalls = self.detector().stalls();
        stalls.retain(|stall| !stall.cause.is_environment());
        stalls
    }

    /// Panics now if anything has blocked since the last check.
    ///
    /// # Panics
    ///
    /// Of a stall.
    #[track_caller]
    pub fn check(&self) {
        if let Some(text) = allow_blocking(WAITS, || self.judge()) {
            panic!("{text}");
        }
    }

    /// Why a block on purpose was not found; `None` if it was.
    pub(super) fn why_unarmed(&self) -> Option<&'static str> {
        if !self.detector.is_watching() {
            return Some("TOWER_STALL is off");
        }
        let found = self.detector().stalls();
        let own = found.iter().any(|stall| !stall.cause.is_environment());
        (!own).then_some(match found.is_empty() {
            true => "the watchdog had no CPU, or the threshold is too short for this machine",
            false => "this machine had no CPU for the test",
        })
    }

    /// Ignores the stalls so far.
    pub(super) fn forgive(&self) {
        lock(&self.settled).extend(self.detector().stalls().iter().map(|stall| stall.id));
    }

    /// The message to fail with, if there are new stalls.
    fn judge(&self) -> Option<String> {
        let seen = clock::wall(self.detector().settle(self.threshold + DECIDE));
        let over = clock::now() + nanos(NAMES);
        let mut stalls = self.new_stalls(seen);
        while !stalls.iter().all(|stall| self.is_known(stall)) && clock::now() < over {
            std::thread::sleep(Duration::from_millis(2));
            stalls = self.new_stalls(seen);
        }
        lock(&self.settled).extend(stalls.iter().map(|stall| stall.id));
        let Self { what, place, threshold, .. } = *self;
        if stalls.is_empty() {
            return None;
        }
        let found = Found { what, place, threshold, stalls: &stalls };
        if self.is_reported {
            report::add(&found);
        }
        Some(found.to_string())
    }

    /// Stalls that began before that time and are new, oldest first.
    fn new_stalls(&self, before: SystemTime) -> Vec<Stall> {
        let settled = lock(&self.settled);
        let mut stalls = self.stalls();
        // Not those of our own wait.
        stalls.retain(|stall| stall.started_at < before && !settled.contains(&stall.id));
        stalls.reverse();
        stalls
    }

    /// Whether the record is as complete as it gets.
    fn is_known(&self, stall: &Stall) -> bool {
        let answered = !stall.is_stack_pending();
        lock(&self.told).contains(&stall.id) && (answered || !self.detector().takes_stacks())
    }
}

impl Drop for NoStalls {
    fn drop(&mut self) {
        let text = allow_blocking(WAITS, || {
            let text = if self.is_over { None } else { self.judge() };
            // Its threads end here, which takes a moment too; clones do not keep them.
            self.detector.stop();
            text
        });
        match text {
            Some(text) if std::thread::panicking() => eprintln!("{text}"),
            Some(text) => panic!("{text}"),
            None => {}
        }
    }
}
