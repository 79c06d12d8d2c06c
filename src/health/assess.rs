//! The one place that judges runtimes, by their status and the stalls in progress.

use crate::runtime::status::RuntimeSnapshot;
use crate::stall::Stall;

/// What the status of the runtimes and the stalls in progress mean.
#[derive(Clone, Debug)]
pub(crate) struct Assessment<'a> {
    /// The first dead runtime, and who blocks it.
    pub(crate) dead: Option<(&'a RuntimeSnapshot, Option<Blame<'a>>)>,
    /// The longest stall that the program caused.
    pub(crate) blame: Option<Blame<'a>>,
    /// A runtime that is frozen or has stalled workers, while no stall explains it.
    pub(crate) unexplained: Option<&'a RuntimeSnapshot>,
}

/// Who blocks a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Blame<'a> {
    /// The longest of its stalls.
    pub(crate) stall: &'a Stall,
    /// `None` if it is no longer watched.
    pub(crate) runtime: Option<&'a RuntimeSnapshot>,
    /// All stalls in progress of the same handler and runtime, this one included.
    pub(crate) same: Vec<&'a Stall>,
    /// The number of other stalls in progress that the program caused.
    pub(crate) others: usize,
}

/// Judges runtimes by their status and by the stalls; ended stalls do not count.
pub(crate) fn assess<'a>(runtimes: &'a [RuntimeSnapshot], stalls: &'a [Stall]) -> Assessment<'a> {
    let own = stalls.iter().filter(|stall| stall.in_progress && !stall.cause.is_environment());
    let own: Vec<_> = own.collect();
    let longest = |of: Option<&RuntimeSnapshot>| {
        let stalls = own.iter().filter(|stall| of.is_none_or(|of| of.name == stall.runtime));
        let stall = *stalls.max_by_key(|stall| stall.duration)?;
        let is_same =
            |other: &&Stall| other.handler == stall.handler && other.runtime == stall.runtime;
        let same: Vec<_> = own.iter().copied().filter(is_same).collect();
        let runtime = runtimes.iter().find(|runtime| runtime.name == stall.runtime);
        Some(Blame { stall, runtime, others: own.len() - same.len(), same })
    };
    let dead = runtimes.iter().find(|runtime| runtime.dead);
    let blame = longest(None);
    Assessment {
        dead: dead.map(|runtime| (runtime, longest(Some(runtime)))),
        unexplained: blame.is_none().then(|| unexplained(runtimes)).flatten(),
        blame,
    }
}

/// A freeze, or else stalled workers whose stall has not reached the store yet.
fn unexplained(runtimes: &[RuntimeSnapshot]) -> Option<&RuntimeSnapshot> {
    let frozen = runtimes.iter().filter(|runtime| runtime.is_frozen());
    let stalled = || runtimes.iter().find(|runtime| runtime.stalled > 0);
    frozen.max_by_key(|runtime| runtime.frozen).or_else(stalled)
}
