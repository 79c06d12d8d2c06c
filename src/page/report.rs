//! The data of one page, gathered at one moment.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::verdict::{Verdict, judge};
use crate::clock;
use crate::runtime::registry::Registry;
use crate::runtime::status::RuntimeSnapshot;
use crate::stall::{Site, SiteKey, SiteTotals, StackDetail, Stall, StoreSnapshot};
use crate::sync::lock;
use crate::text;
use crate::vitals::{Condition, OwnThread, ThreadReport};

/// The number of some stalls, and their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) stalls: u64,
    pub(super) time: Duration,
}

/// A row of sums.
pub(super) type Row = (SiteKey, SiteTotals);

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
    /// What they show, once that is known.
    pub(super) stack_detail: Option<StackDetail>,
    pub(super) verdict: Verdict,
    /// Threads of the detector that are stuck or lost, or have panicked.
    pub(super) faults: Vec<ThreadReport>,
    /// What keeps log and stacks from being whole.
    pub(super) notices: Vec<String>,
    pub(super) runtimes: Vec<RuntimeSnapshot>,
    /// Stalls that the program caused, by site, the most time first, but for those of no known site whose
    /// handler has others.
    pub(super) sites: Vec<Row>,
    pub(super) own: Total,
    /// Stalls that the environment caused, by cause, the most time first.
    pub(super) environment: Vec<Row>,
    pub(super) outside: Total,
    /// Newest first.
    pub(super) in_progress: Vec<Stall>,
    /// The last stalls that have ended, newest first.
    pub(super) recent: Vec<Stall>,
    /// How many ended stalls are kept one by one.
    pub(super) most_kept: usize,
    /// Log lines and reports that were held back.
    pub(super) suppressed: u64,
}

impl Report {
    pub(super) fn gather(registry: &Registry, since: SystemTime, on: bool) -> Self {
        let now = clock::now();
        let watched = registry.runtimes();
        let runtimes = watched.iter().map(|runtime| RuntimeSnapshot {
            lag: runtime.lag_history.points(now),
            ..runtime.snapshot(now)
        });
        let runtimes: Vec<_> = runtimes.collect();
        let StoreSnapshot { mut sums, in_progress, recent } = registry.store.snapshot();
        sums.sort_by_key(|(key, totals)| (Reverse(totals.time), key.handler, key.cause.as_str()));
        let (environment, mut sites): (Vec<Row>, Vec<Row>) =
            sums.into_iter().partition(|(key, _)| key.cause.is_environment());
        unknown_last(&mut sites);
        let faults = registry.vitals.reports(now).filter(|report| report.is_fault());
        let faults: Vec<_> = faults.collect();
        let verdict = match faults.iter().find(|fault| is_blind(fault)) {
            _ if !on => Verdict::switched_off(),
            Some(blind) => Verdict::unknown(*blind),
            None => judge(&runtimes, &in_progress, &sites),
        };
        let stack_detail = registry.stack_detail.get().copied();
        Self {
            now: clock::wall(now),
            since,
            program: text::program(),
            process: std::process::id(),
            threshold: Duration::from_nanos(registry.threshold),
            capture: registry.capture,
            stack_detail,
            notices: text::notices(*lock(&registry.log_status), stack_detail),
            verdict,
            faults,
            runtimes,
            own: total(&sites),
            sites,
            outside: total(&environment),
            environment,
            in_progress,
            recent,
            most_kept: registry.store.most,
            suppressed: registry.suppressed.load(Relaxed),
        }
    }

    /// All that are kept.
    pub(super) fn stalls(&self) -> impl Iterator<Item = &Stall> {
        self.in_progress.iter().chain(&self.recent)
    }

    /// The sites that the page shows.
    pub(super) fn shown_sites(&self) -> impl Iterator<Item = &Site> {
        let of_rows = self.sites.iter().filter_map(|(key, _)| key.site.as_ref());
        of_rows.chain(self.stalls().flat_map(sites_of))
    }
}

/// The sites that the page shows of a stall.
pub(super) fn sites_of(stall: &Stall) -> impl Iterator<Item = &Site> {
    let later = stall.later.iter().filter_map(|later| later.site.as_ref());
    stall.site.as_ref().or(stall.last_seen.as_ref()).into_iter().chain(later)
}

/// Moves rows without a site behind all others if their handler has one with a site: that one says more.
fn unknown_last(rows: &mut [Row]) {
    let known: HashSet<_> =
        rows.iter().filter(|(key, _)| key.site.is_some()).map(|(key, _)| key.handler).collect();
    // Stable.
    rows.sort_by_key(|(key, _)| key.site.is_none() && known.contains(key.handler));
}

/// Whether it is not known how the runtimes are.
fn is_blind(fault: &ThreadReport) -> bool {
    fault.thread == OwnThread::Watchdog && fault.condition != Condition::Works
}

fn total(rows: &[Row]) -> Total {
    rows.iter().fold(Total::default(), |sum, (_, row)| Total {
        stalls: sum.stalls + row.stalls,
        time: sum.time.saturating_add(row.time),
    })
}
