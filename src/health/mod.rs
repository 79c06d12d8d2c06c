//! Whether the process is alive and can take requests, as probes ask.
//!
//! What the watchdog found of each runtime stands in its vitals; [`judge`](judge::judge) turns
//! that into answers, as a pure function.

mod judge;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use crate::runtime::Runtime;
use crate::runtime::registry::Registry;
use crate::sync::{AtomicBool, lock};
#[cfg(feature = "admin")]
use judge::judge_life;
use judge::{Service, Watched, judge};

/// Whether a runtime counts for the health of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Its freezes make the process not ready, and in the end dead.
    #[default]
    Count,
    /// It may freeze for as long as it likes: a runtime for computations, for example.
    Ignore,
}

/// What makes the process not ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// The start, a drain, what [`ready_when`](crate::StallDetector::ready_when) says, and
    /// freezes.
    #[default]
    Freezes,
    /// The same without freezes: for a service whose pods would all freeze at once, so that
    /// taking them out of rotation leaves none.
    StartAndDrain,
}

impl Readiness {
    pub(crate) const ALL: [(&'static str, Self); 2] =
        [("freezes", Self::Freezes), ("start-and-drain", Self::StartAndDrain)];
}

/// How the process does: what `/livez` and `/readyz` say.
///
/// Made by [`StallDetector::health`](crate::StallDetector::health).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HealthReport {
    /// Why only a restart helps; `None` while the process is alive.
    pub dead: Option<String>,
    /// What does not go well, though the process is alive: stalls in progress, freezes.
    pub degraded: Option<String>,
    /// Why the process should not get requests now; `None` when it should.
    pub unready: Option<String>,
}

impl HealthReport {
    /// What a liveness probe wants to know.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.dead.is_none()
    }

    /// What a readiness probe wants to know.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.unready.is_none()
    }
}

type Check = Arc<dyn Fn() -> bool + Send + Sync>;

/// What the answers are made from, shared by the handle and the admin server.
pub(crate) struct HealthState {
    registry: Arc<Registry>,
    readiness: Readiness,
    draining: AtomicBool,
    checks: Mutex<Vec<Check>>,
}

impl HealthState {
    pub(crate) fn new(registry: Arc<Registry>, readiness: Readiness) -> Self {
        Self { registry, readiness, draining: AtomicBool::new(false), checks: Mutex::default() }
    }

    /// From now on the process is not ready.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub(crate) fn ready_when(&self, check: impl Fn() -> bool + Send + Sync + 'static) {
        lock(&self.checks).push(Arc::new(check));
    }

    /// Whether the answer of [`report`](Self::report) wants code of others to be run.
    #[cfg(any(feature = "admin", test))]
    pub(crate) fn has_checks(&self) -> bool {
        !lock(&self.checks).is_empty()
    }

    /// Without readiness, and without running code of others.
    #[cfg(feature = "admin")]
    pub(crate) fn life(&self) -> HealthReport {
        judge_life(&self.runtimes(), &self.registry.store.stalls())
    }

    /// Runs the checks: may take as long as they do.
    pub(crate) fn report(&self) -> HealthReport {
        let checks = lock(&self.checks).clone();
        let objection =
            checks.iter().find_map(|check| match catch_unwind(AssertUnwindSafe(|| check())) {
                Ok(true) => None,
                Ok(false) => Some("ready_when says no"),
                Err(_) => Some("ready_when panicked"),
            });
        let service =
            Service { readiness: self.readiness, draining: self.draining.load(Relaxed), objection };
        judge(&self.runtimes(), &self.registry.store.stalls(), service)
    }

    fn runtimes(&self) -> Vec<Watched> {
        let runtimes = self.registry.runtimes();
        let watched = |runtime: &Arc<Runtime>| Watched {
            name: runtime.name,
            is_first: runtime.index == 1,
            counts: !runtime.status.is_ignored(),
            has_started: runtime.status.has_started(),
            found: runtime.status.found(),
            workers: runtime.workers,
            stalled: runtime.gauges.stalled.load(Relaxed) as usize,
        };
        runtimes.iter().map(watched).collect()
    }
}

impl std::fmt::Debug for HealthState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HealthState")
            .field("readiness", &self.readiness)
            .field("draining", &self.draining)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::registry::tests::LIMITS;

    #[test]
    fn readiness_asks_all_checks_and_survives_their_panics() {
        let state = HealthState::new(Registry::new(LIMITS), Readiness::default());
        assert_eq!(state.report(), HealthReport::default());
        state.ready_when(|| true);
        assert!(state.report().is_ready() && state.has_checks());
        let up = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&up);
        state.ready_when(move || asked.load(Relaxed));
        assert_eq!(state.report().unready.as_deref(), Some("ready_when says no"));
        up.store(true, Relaxed);
        assert!(state.report().is_ready());
        state.ready_when(|| panic!("a check may do this"));
        assert_eq!(state.report().unready.as_deref(), Some("ready_when panicked"));
        state.drain();
        let report = state.report();
        assert_eq!(report.unready.as_deref(), Some("draining"));
        assert!(report.is_live());
    }
}
