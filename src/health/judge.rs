//! What probes are told, from the assessment: pure functions.

use super::assess::{Blame, assess};
use super::report::{HealthReport, Readiness};
use crate::runtime::status::RuntimeSnapshot;
use crate::stall::Stall;
use crate::text;

/// What else readiness depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Service {
    pub(super) readiness: Readiness,
    pub(super) draining: bool,
    /// Why a check of the user fails.
    pub(super) objection: Option<&'static str>,
}

/// `stalls` may include ended ones.
pub(super) fn judge(
    runtimes: &[RuntimeSnapshot],
    stalls: &[Stall],
    service: Service,
) -> HealthReport {
    HealthReport { unready: unready(runtimes, service), ..judge_liveness(runtimes, stalls) }
}

/// The report without readiness.
pub(super) fn judge_liveness(runtimes: &[RuntimeSnapshot], stalls: &[Stall]) -> HealthReport {
    let found = assess(runtimes, stalls);
    let dead = found.dead.map(|(runtime, blame)| {
        let what = text::frozen(runtime.name, runtime.frozen);
        blame.map_or(what.clone(), |blame| format!("{what}: {}", text::blocks(blame.stall)))
    });
    let degraded = found.blame.map(blocked).or_else(|| found.unexplained.map(unexplained));
    HealthReport { dead, degraded, ..HealthReport::default() }
}

fn unexplained(runtime: &RuntimeSnapshot) -> String {
    match runtime.is_frozen() {
        true => text::frozen(runtime.name, runtime.frozen),
        false => {
            let share = text::share(runtime.stalled, runtime.workers);
            format!("runtime {:?}: {share}", runtime.name)
        }
    }
}

fn blocked(blame: Blame<'_>) -> String {
    let mut text = text::blocks(blame.stall);
    if let Some(runtime) = blame.runtime {
        text = format!("{text} · {}", text::share(runtime.stalled, runtime.workers));
    }
    match blame.same.len() - 1 + blame.others {
        0 => text,
        more => format!("{text} · {more} more in progress"),
    }
}

fn unready(runtimes: &[RuntimeSnapshot], service: Service) -> Option<String> {
    if service.draining {
        return Some("draining".to_owned());
    }
    if let Some(first) = runtimes.iter().find(|runtime| runtime.is_first && !runtime.has_started) {
        return Some(format!("runtime {:?} has not had its first heartbeat", first.name));
    }
    let frozen = match service.readiness {
        Readiness::Freezes => runtimes.iter().find(|runtime| runtime.unready),
        Readiness::StartAndDrain => None,
    };
    let freeze = frozen.map(|runtime| match runtime.is_frozen() {
        true => text::frozen(runtime.name, runtime.frozen),
        false => format!("runtime {:?} was frozen a moment ago", runtime.name),
    });
    freeze.or_else(|| service.objection.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stall::Cause;
    use crate::stall::tests::stall;

    const MAIN: RuntimeSnapshot = RuntimeSnapshot {
        name: "main",
        is_first: true,
        counts: true,
        has_started: true,
        workers: 4,
        stalled: 0,
        saturated: 0,
        oldest: Duration::ZERO,
        heartbeat_age: None,
        frozen: Duration::ZERO,
        unready: false,
        dead: false,
        lag: Vec::new(),
    };

    fn judged(runtime: RuntimeSnapshot, stalls: &[Stall]) -> HealthReport {
        judge(&[runtime], stalls, Service::default())
    }

    #[test]
    fn a_healthy_service_is_alive_and_ready() {
        let ended = Stall { in_progress: false, ..stall(1) };
        assert_eq!(judged(MAIN, &[ended]), HealthReport::default());
        assert_eq!(judge(&[], &[], Service::default()), HealthReport::default());
    }

    #[test]
    fn a_stalled_worker_degrades_and_the_longest_stall_is_told() {
        let new = Stall { in_progress: true, handler: "GET /new".into(), ..stall(2) };
        let old = Stall {
            in_progress: true,
            worker: Some(2),
            cause: Cause::Sleep,
            duration: Duration::from_millis(3100),
            ..stall(1)
        };
        let environment = Stall {
            in_progress: true,
            cause: Cause::Starved,
            duration: Duration::from_secs(99),
            ..stall(3)
        };
        let report = judged(RuntimeSnapshot { stalled: 2, ..MAIN }, &[environment, new, old]);
        assert_eq!(
            report.degraded.as_deref(),
            Some(
                "GET /hello has blocked worker 2 of runtime \"main\" for 3.100 s: sleep · 2 of 4 workers stalled · 1 more in progress"
            )
        );
        assert!(report.is_live() && report.is_ready());
    }

    #[test]
    fn what_no_stall_explains_is_told_all_the_same() {
        let frozen = RuntimeSnapshot { frozen: Duration::from_secs(3), ..MAIN };
        let says = |runtime| judged(runtime, &[]).degraded.unwrap_or_default();
        assert_eq!(says(frozen.clone()), "runtime \"main\" has been frozen for 3 s");
        assert_eq!(says(RuntimeSnapshot { counts: false, ..frozen }), "");
        let excused = RuntimeSnapshot { frozen: Duration::from_nanos(1), ..MAIN };
        assert_eq!(says(excused), "", "all of it was the environment's");
        let stalled = RuntimeSnapshot { stalled: 1, ..MAIN };
        assert_eq!(says(stalled), "runtime \"main\": 1 of 4 workers stalled");
    }

    #[test]
    fn a_dead_runtime_says_who_killed_it() {
        let frozen = RuntimeSnapshot { frozen: Duration::from_secs(61), ..MAIN };
        let open = Stall { in_progress: true, duration: Duration::from_secs(61), ..stall(1) };
        let report = judged(
            RuntimeSnapshot { unready: true, dead: true, ..frozen.clone() },
            std::slice::from_ref(&open),
        );
        let dead = report.dead.expect("it is dead");
        assert!(dead.starts_with("runtime \"main\" has been frozen for 61 s: GET /hello has"));
        let unready = report.unready.expect("nor is it ready");
        assert_eq!(unready, "runtime \"main\" has been frozen for 61 s");
        let ignored = judged(RuntimeSnapshot { counts: false, ..frozen }, &[open]);
        assert!(ignored.is_live() && ignored.is_ready() && ignored.degraded.is_some());
    }

    #[test]
    fn readiness_waits_for_the_first_heartbeat_and_after_freezes() {
        let young = judged(RuntimeSnapshot { has_started: false, ..MAIN }, &[]);
        assert_eq!(
            young.unready.as_deref(),
            Some("runtime \"main\" has not had its first heartbeat")
        );
        let later = RuntimeSnapshot { has_started: false, is_first: false, ..MAIN };
        assert!(judged(later, &[]).is_ready());
        let thawed = RuntimeSnapshot { unready: true, ..MAIN };
        assert!(judged(thawed.clone(), &[]).unready.expect("not yet").contains("a moment ago"));
        let service = Service { readiness: Readiness::StartAndDrain, ..Service::default() };
        assert!(judge(std::slice::from_ref(&thawed), &[], service).is_ready());
        let draining = Service { draining: true, ..service };
        assert!(!judge(&[thawed], &[], draining).is_ready());
    }
}
