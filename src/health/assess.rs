//! The one place that judges: what the status of runtimes and the stalls in progress mean.

#![cfg_attr(not(feature = "admin"), allow(dead_code, reason = "only the page reads all of it"))]

use crate::runtime::status::RuntimeSnapshot;
use crate::stall::Stall;

/// How the process does, from best to worst but for `Off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Healthy,
    /// What holds workers up lies outside the program.
    Environment,
    /// A handler blocks, or a runtime is frozen.
    Degraded,
    /// Only a restart helps.
    Dead,
    /// The detector is switched off.
    Off,
}

/// See [`assess`].
#[derive(Clone, Debug)]
pub(crate) struct Assessment<'a> {
    pub(crate) condition: Condition,
    /// The first dead runtime, and who blocks it.
    pub(crate) dead: Option<(&'a RuntimeSnapshot, Option<Blame<'a>>)>,
    /// The longest stall of the program's own doing.
    pub(crate) blame: Option<Blame<'a>>,
    /// The longest stall that the environment caused, and how many there are.
    pub(crate) outside: Option<(&'a Stall, usize)>,
    /// A runtime that does not do well, while no stall explains it.
    pub(crate) unexplained: Option<&'a RuntimeSnapshot>,
}

/// Who blocks a runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blame<'a> {
    /// The longest of its stalls.
    pub(crate) stall: &'a Stall,
    pub(crate) runtime: Option<&'a RuntimeSnapshot>,
    /// Workers of the runtime that stalls of the same handler block.
    pub(crate) blocked: usize,
    pub(crate) workers: usize,
    /// Stalls in progress of other handlers or runtimes.
    pub(crate) others: usize,
    /// Stalls in progress beside this one.
    pub(crate) further: usize,
}

impl Condition {
    #[cfg(feature = "admin")]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Environment => "environment",
            Self::Degraded => "degraded",
            Self::Dead => "dead",
            Self::Off => "off",
        }
    }
}

/// Judges runtimes by their status and by the stalls; those that are over do not count.
pub(crate) fn assess<'a>(runtimes: &'a [RuntimeSnapshot], stalls: &'a [Stall]) -> Assessment<'a> {
    let in_progress = stalls.iter().filter(|stall| stall.in_progress);
    let (outside, own): (Vec<_>, Vec<_>) =
        in_progress.partition(|stall| stall.cause.is_environment());
    let dead = runtimes.iter().find(|runtime| runtime.dead).map(|runtime| {
        let of_it = own.iter().copied().filter(|stall| stall.runtime == runtime.name);
        (runtime, longest(of_it).map(|stall| blame(stall, &own, runtimes)))
    });
    let culprit = longest(own.iter().copied()).map(|stall| blame(stall, &own, runtimes));
    let outside = longest(outside.iter().copied()).map(|stall| (stall, outside.len()));
    let unexplained = culprit.is_none().then(|| unexplained(runtimes)).flatten();
    let condition = match (&dead, &culprit, &outside, unexplained) {
        (Some(_), ..) => Condition::Dead,
        (_, Some(_), ..) => Condition::Degraded,
        (_, _, Some(_), _) => Condition::Environment,
        (.., Some(_)) => Condition::Degraded,
        _ => Condition::Healthy,
    };
    Assessment { condition, dead, blame: culprit, outside, unexplained }
}

fn longest<'a>(stalls: impl Iterator<Item = &'a Stall>) -> Option<&'a Stall> {
    stalls.max_by_key(|stall| stall.duration)
}

fn blame<'a>(stall: &'a Stall, own: &[&Stall], runtimes: &'a [RuntimeSnapshot]) -> Blame<'a> {
    let is_same =
        |other: &&&Stall| other.handler == stall.handler && other.runtime == stall.runtime;
    let same: Vec<_> = own.iter().filter(is_same).collect();
    let runtime = runtimes.iter().find(|runtime| runtime.name == stall.runtime);
    Blame {
        stall,
        runtime,
        blocked: same.iter().filter(|stall| stall.worker.is_some()).count(),
        workers: runtime.map_or(stall.workers, |runtime| runtime.workers),
        others: own.len() - same.len(),
        further: own.len() - 1,
    }
}

/// A freeze, or else stalled workers whose stall has not reached the store yet.
fn unexplained(runtimes: &[RuntimeSnapshot]) -> Option<&RuntimeSnapshot> {
    let frozen = runtimes.iter().filter(|runtime| runtime.is_frozen());
    let stalled = || runtimes.iter().find(|runtime| runtime.stalled > 0);
    frozen.max_by_key(|runtime| runtime.frozen).or_else(stalled)
}
