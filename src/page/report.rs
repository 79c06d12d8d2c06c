//! What is known at one moment, as plain data.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::verdict::{Verdict, judge};
use crate::clock::{self, Nanos};
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;
use crate::runtime::status::RuntimeSnapshot;
use crate::stall::StoreSnapshot;
use crate::stall::{Cause, Stall};
use crate::stall::{SiteKey, SiteTotals};

/// See the module.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) now: SystemTime,
    /// The start of the detector: sums count from there.
    pub(super) since: SystemTime,
    pub(super) program: String,
    pub(super) process: u32,
    pub(super) threshold: Duration,
    /// How stacks are taken.
    pub(super) capture: &'static str,
    pub(super) verdict: Verdict,
    pub(super) runtimes: Vec<RuntimeSnapshot>,
    /// Of the program's own doing, the most time first.
    pub(super) sites: Vec<(SiteKey, SiteTotals)>,
    /// What lies outside the program, the most time first.
    pub(super) environment: Vec<(Cause, SiteTotals)>,
    /// Newest first.
    pub(super) in_progress: Vec<Stall>,
    /// The last that are over, newest first.
    pub(super) recent: Vec<Stall>,
    /// Stalls that are kept one by one; sums have all.
    pub(super) most_kept: usize,
    /// Log lines and reports that were held back.
    pub(super) suppressed: u64,
}

impl Report {
    pub(super) fn gather(registry: &Registry, since: SystemTime, on: bool) -> Self {
        let now = clock::now();
        let runtimes: Vec<_> =
            registry.runtimes().iter().map(|runtime| snapshot(runtime, now)).collect();
        let StoreSnapshot { sums, in_progress, recent } = registry.store.snapshot();
        let (environment, mut sites): (Vec<_>, Vec<_>) =
            sums.into_iter().partition(|(key, _)| key.cause.is_environment());
        sites.sort_by(|(one, a), (other, b)| {
            (b.time, one.handler, one.cause.as_str()).cmp(&(
                a.time,
                other.handler,
                other.cause.as_str(),
            ))
        });
        let verdict =
            if on { judge(&runtimes, &in_progress, &sites) } else { Verdict::switched_off() };
        Self {
            now: clock::wall(now),
            since,
            program: program(),
            process: std::process::id(),
            threshold: Duration::from_nanos(registry.threshold),
            capture: registry.capture,
            verdict,
            runtimes,
            sites,
            environment: by_cause(environment),
            in_progress,
            recent,
            most_kept: registry.store.most,
            suppressed: registry.suppressed.load(Relaxed),
        }
    }

    /// Stalls of the program's own doing, and their time.
    pub(super) fn own(&self) -> (u64, Duration) {
        total(self.sites.iter().map(|(_, totals)| totals))
    }

    /// Stalls that the environment caused, and their time.
    pub(super) fn outside(&self) -> (u64, Duration) {
        total(self.environment.iter().map(|(_, totals)| totals))
    }
}

/// A runtime's status with its lags.
fn snapshot(runtime: &Runtime, now: Nanos) -> RuntimeSnapshot {
    RuntimeSnapshot { lag: runtime.lag_history.points(now), ..runtime.snapshot(now) }
}

fn total<'a>(tallies: impl Iterator<Item = &'a SiteTotals>) -> (u64, Duration) {
    tallies.fold((0, Duration::ZERO), |(stalls, time), totals| {
        (stalls + totals.stalls, time.saturating_add(totals.time))
    })
}

/// The environment has no sites.
fn by_cause(rows: Vec<(SiteKey, SiteTotals)>) -> Vec<(Cause, SiteTotals)> {
    let mut causes: HashMap<Cause, SiteTotals> = HashMap::new();
    for (key, totals) in rows {
        match causes.get_mut(&key.cause) {
            Some(known) => known.merge(&totals),
            None => drop(causes.insert(key.cause, totals)),
        }
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(cause, totals)| (std::cmp::Reverse(totals.time), cause.as_str()));
    causes
}

/// The name of the program's file.
fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(|path| path.file_name());
    name.map_or_else(|| "?".to_owned(), |name| name.to_string_lossy().into_owned())
}
