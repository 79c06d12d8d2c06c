//! The health of the process, as the detector's handle and the admin server read it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

#[cfg(feature = "admin")]
use super::judge::judge_liveness;
use super::judge::{Service, judge};
use super::report::{HealthReport, Readiness};
use crate::clock;
use crate::runtime::registry::Registry;
use crate::runtime::status::RuntimeSnapshot;
use crate::sync::{AtomicBool, lock};
use crate::text;
use crate::vitals::OwnThread;

type Check = Arc<dyn Fn() -> bool + Send + Sync>;

/// What health is judged from, shared by the handle and the admin server.
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

    /// Whether [`report`](Self::report) runs checks of the user.
    #[cfg(any(feature = "admin", test))]
    pub(crate) fn has_checks(&self) -> bool {
        !lock(&self.checks).is_empty()
    }

    /// The report without readiness; runs no checks.
    #[cfg(feature = "admin")]
    pub(crate) fn liveness(&self) -> HealthReport {
        let judged = judge_liveness(&self.runtimes(), &self.registry.store.in_progress());
        self.with_own_state(judged)
    }

    /// The whole report. Runs the checks, and takes as long as they do.
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
        let judged = judge(&self.runtimes(), &self.registry.store.in_progress(), service);
        self.with_own_state(judged)
    }

    fn runtimes(&self) -> Vec<RuntimeSnapshot> {
        let now = clock::now();
        let runtimes = self.registry.runtimes();
        let mut runtimes: Vec<_> = runtimes.iter().map(|runtime| runtime.snapshot(now)).collect();
        if !self.registry.vitals.is_well(OwnThread::Watchdog, now) {
            // What it found last may be over by now.
            for runtime in &mut runtimes {
                (runtime.dead, runtime.unready) = (false, false);
            }
        }
        runtimes
    }

    /// The report with what is to be said of the detector itself.
    pub(crate) fn with_own_state(&self, judged: HealthReport) -> HealthReport {
        let registry = &self.registry;
        let threads = registry.vitals.reports(clock::now());
        let faults = threads.filter(|report| report.is_fault()).map(text::thread).collect();
        let log = *lock(&registry.log_status);
        let notices = text::notices(log, registry.stack_detail.get().copied());
        HealthReport { faults, notices, ..judged }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::registry::LIMITS;

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
