//! From what was found to what probes are told: pure functions.

use super::{HealthReport, Readiness};
use crate::clock::{Nanos, human_nanos};
use crate::runtime::status::RuntimeHealth;
use crate::stall::Stall;
use crate::text;

/// A freeze of which less is left is the environment's.
const LEAST: Nanos = 1_000_000;

/// A runtime as it looks now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) name: &'static str,
    /// The one that the detector was started in.
    pub(super) is_first: bool,
    pub(super) counts: bool,
    pub(super) has_started: bool,
    pub(super) found: RuntimeHealth,
    pub(super) workers: usize,
    pub(super) stalled: usize,
}

/// What else readiness depends on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Service {
    pub(super) readiness: Readiness,
    pub(super) draining: bool,
    /// What a check of the user has against it.
    pub(super) objection: Option<&'static str>,
}

/// `stalls` newest first, ended ones included.
pub(super) fn judge(runtimes: &[Watched], stalls: &[Stall], service: Service) -> HealthReport {
    let unready = unready(runtimes, service);
    HealthReport { unready, ..judge_life(runtimes, stalls) }
}

/// Whether it lives, without readiness.
pub(super) fn judge_life(runtimes: &[Watched], stalls: &[Stall]) -> HealthReport {
    let counted = || runtimes.iter().filter(|runtime| runtime.counts);
    let open: Vec<_> =
        stalls.iter().filter(|stall| stall.in_progress && !stall.cause.is_environment()).collect();
    let dead = counted().find(|runtime| runtime.found.dead).map(|runtime| {
        let frozen = human_nanos(runtime.found.frozen);
        let what = format!("runtime {:?} has been frozen for {frozen}", runtime.name);
        let blames = open.iter().filter(|stall| stall.runtime == runtime.name);
        match blames.max_by_key(|stall| stall.duration) {
            Some(stall) => format!("{what}: {}", text::blocks(stall)),
            None => what,
        }
    });
    let degraded = match open.iter().max_by_key(|stall| stall.duration) {
        Some(stall) => Some(stalled(stall, open.len() - 1, runtimes)),
        None => runtimes.iter().find_map(not_well),
    };
    HealthReport { dead, degraded, unready: None }
}

/// What is wrong with a runtime of which no stall is known.
fn not_well(runtime: &Watched) -> Option<String> {
    let Watched { name, workers, stalled, found, counts, .. } = *runtime;
    if stalled > 0 {
        // Newer stalls have pushed theirs out of the ring.
        return Some(format!("runtime {name:?}: {}", text::share(stalled, workers)));
    }
    let frozen = human_nanos(found.frozen);
    let is_frozen = counts && found.frozen >= LEAST;
    is_frozen.then(|| format!("runtime {name:?} has been frozen for {frozen}"))
}

fn stalled(longest: &Stall, further: usize, runtimes: &[Watched]) -> String {
    let runtime = runtimes.iter().find(|runtime| runtime.name == longest.runtime);
    let share = runtime.map(|runtime| text::share(runtime.stalled, runtime.workers));
    let further = (further > 0).then(|| format!("{further} more in progress"));
    let parts = [Some(text::blocks(longest)), share, further];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

fn unready(runtimes: &[Watched], service: Service) -> Option<String> {
    if service.draining {
        return Some("draining".to_owned());
    }
    if let Some(first) = runtimes.iter().find(|runtime| runtime.is_first && !runtime.has_started) {
        return Some(format!("runtime {:?} has not had its first heartbeat", first.name));
    }
    let frozen = runtimes
        .iter()
        .find(|runtime| runtime.counts && runtime.found.unready)
        .filter(|_| service.readiness == Readiness::Freezes);
    let freeze = frozen.map(|runtime| match runtime.found.frozen {
        ..LEAST => format!("runtime {:?} was frozen a moment ago", runtime.name),
        time => format!("runtime {:?} has been frozen for {}", runtime.name, human_nanos(time)),
    });
    freeze.or_else(|| service.objection.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::stall::Cause;
    use crate::stall::tests::stall;

    const SECOND: u64 = 1_000_000_000;
    const MAIN: Watched = Watched {
        name: "main",
        is_first: true,
        counts: true,
        has_started: true,
        found: RuntimeHealth { frozen: 0, unready: false, dead: false, sheds: false },
        workers: 4,
        stalled: 0,
    };

    fn judged(runtime: Watched, stalls: &[Stall]) -> HealthReport {
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
        let new = Stall { in_progress: true, handler: "GET /new", ..stall(2) };
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
        let report = judged(Watched { stalled: 2, ..MAIN }, &[environment, new, old]);
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
        let frozen = Watched { found: RuntimeHealth { frozen: 3 * SECOND, ..MAIN.found }, ..MAIN };
        let says = |runtime| judged(runtime, &[]).degraded.unwrap_or_default();
        assert_eq!(says(frozen), "runtime \"main\" has been frozen for 3 s");
        assert_eq!(says(Watched { counts: false, ..frozen }), "");
        let excused = Watched { found: RuntimeHealth { frozen: 1, ..MAIN.found }, ..MAIN };
        assert_eq!(says(excused), "", "all of it was the environment's");
        assert_eq!(
            says(Watched { stalled: 1, ..frozen }),
            "runtime \"main\": 1 of 4 workers stalled"
        );
    }

    #[test]
    fn a_dead_runtime_says_who_killed_it() {
        let found = RuntimeHealth { frozen: 61 * SECOND, unready: true, dead: true, sheds: true };
        let open = Stall { in_progress: true, duration: Duration::from_secs(61), ..stall(1) };
        let report = judged(Watched { found, ..MAIN }, std::slice::from_ref(&open));
        let dead = report.dead.expect("it is dead");
        assert!(dead.starts_with("runtime \"main\" has been frozen for 61 s: GET /hello has"));
        let unready = report.unready.expect("nor is it ready");
        assert_eq!(unready, "runtime \"main\" has been frozen for 61 s");
        let ignored = judged(Watched { counts: false, found, ..MAIN }, &[open]);
        assert!(ignored.is_live() && ignored.is_ready() && ignored.degraded.is_some());
    }

    #[test]
    fn readiness_waits_for_the_first_heartbeat_and_after_freezes() {
        let young = judged(Watched { has_started: false, ..MAIN }, &[]);
        assert_eq!(
            young.unready.as_deref(),
            Some("runtime \"main\" has not had its first heartbeat")
        );
        let later = Watched { has_started: false, is_first: false, ..MAIN };
        assert!(judged(later, &[]).is_ready());
        let thawed = Watched { found: RuntimeHealth { unready: true, ..MAIN.found }, ..MAIN };
        assert!(judged(thawed, &[]).unready.expect("not yet").contains("a moment ago"));
        let service = Service { readiness: Readiness::StartAndDrain, ..Service::default() };
        assert!(judge(&[thawed], &[], service).is_ready());
        let draining = Service { draining: true, ..service };
        assert!(!judge(&[thawed], &[], draining).is_ready());
    }
}
