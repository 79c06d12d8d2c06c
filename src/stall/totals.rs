//! Stalled time by site since the start: bounded, and nothing of it is lost.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::store::LiveStall;
use super::{Cause, Site, Stall};
use crate::clock::Nanos;
use crate::labels::OTHER;

/// Sites with a row of their own; further ones share a row for each cause.
const MOST_ROWS: usize = 256;
/// Stalls that wait for their end or their site.
const MOST_WAITING: usize = 1024;
/// How long after the end of a stall its site is waited for: the first takes its time.
const WAIT: Nanos = 10_000_000_000;

/// What is summed up: a place in a handler, and why it blocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SiteKey {
    pub(crate) handler: &'static str,
    pub(crate) site: Option<Site>,
    pub(crate) cause: Cause,
}

/// The stalls of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SiteTotals {
    pub(crate) stalls: u64,
    /// Those among them that still last.
    pub(crate) in_progress: u64,
    pub(crate) time: Duration,
    pub(crate) longest: Duration,
    /// When the last of them ended, or was seen to last.
    pub(crate) last_seen: SystemTime,
    /// See [`Stall::delayed_requests`].
    pub(crate) delayed_requests: u64,
    pub(crate) fix: &'static str,
    /// The number of the last of them.
    pub(crate) last: u64,
}

impl SiteTotals {
    /// Adds stalls of another row.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.stalls += other.stalls;
        self.in_progress += other.in_progress;
        self.time = self.time.saturating_add(other.time);
        self.longest = self.longest.max(other.longest);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.delayed_requests = self.delayed_requests.saturating_add(other.delayed_requests);
        if other.last > self.last {
            (self.last, self.fix) = (other.last, other.fix);
        }
    }
}

/// Sums up ended stalls once their site is known, and remembers those that still last.
#[derive(Debug, Default)]
pub(super) struct StallTotals {
    rows: HashMap<SiteKey, SiteTotals>,
    waiting: Vec<Unsettled>,
}

#[derive(Clone, Debug)]
struct Unsettled {
    entry: Arc<LiveStall>,
    /// How much of its time is summed up already, since the environment had it.
    counted: Duration,
    ended: Option<Nanos>,
}

impl StallTotals {
    /// A stall was counted, or what was the environment's turned out to be one.
    pub(super) fn add(&mut self, entry: &Arc<LiveStall>) {
        let new = Unsettled { entry: Arc::clone(entry), counted: Duration::ZERO, ended: None };
        match self.waiting.iter().position(|waiting| waiting.entry.id() == entry.id()) {
            None => self.waiting.push(new),
            Some(at) => {
                let excused = Stall { in_progress: false, ..self.waiting[at].entry.stall() };
                let counted = self.waiting[at].counted;
                self.waiting[at] = Unsettled { counted: excused.duration, ..new };
                sum(&mut self.rows, excused, counted);
            }
        }
    }

    /// Sums up what is over and known. Cheap where there is nothing new.
    pub(super) fn settle(&mut self, now: Nanos) {
        let Self { rows, waiting } = self;
        let mut excess = waiting.len().saturating_sub(MOST_WAITING);
        waiting.retain_mut(|waiting| {
            if !waiting.entry.is_ended() {
                return true;
            }
            let ended = *waiting.ended.get_or_insert(now);
            let is_known =
                waiting.entry.has_stack_result() || waiting.entry.cause().is_environment();
            let keep = !is_known && now.saturating_sub(ended) < WAIT && excess == 0;
            if !keep {
                excess = excess.saturating_sub(1);
                sum(rows, waiting.entry.stall(), waiting.counted);
            }
            keep
        });
    }

    /// All there is, those that still last included, and these alone, newest first: as of the same
    /// moment.
    #[cfg(any(feature = "admin", test))]
    pub(super) fn snapshot(&self) -> (Vec<(SiteKey, SiteTotals)>, Vec<Stall>) {
        let mut rows = self.rows.clone();
        let mut lasting = Vec::new();
        for waiting in &self.waiting {
            let stall = waiting.entry.stall();
            if stall.in_progress {
                lasting.push(stall.clone());
            }
            sum(&mut rows, stall, waiting.counted);
        }
        lasting.reverse();
        (rows.into_iter().collect(), lasting)
    }
}

/// Adds a stall, less the time that is there already.
fn sum(rows: &mut HashMap<SiteKey, SiteTotals>, stall: Stall, counted: Duration) {
    let end = stall.started_at + stall.duration;
    let time = stall.duration.saturating_sub(counted);
    let own = SiteTotals {
        stalls: 1,
        in_progress: u64::from(stall.in_progress),
        time,
        longest: time,
        last_seen: end,
        delayed_requests: stall.delayed_requests,
        fix: stall.fix,
        last: stall.id,
    };
    let mut key = SiteKey { handler: stall.handler, site: stall.site, cause: stall.cause };
    if rows.len() >= MOST_ROWS && !rows.contains_key(&key) {
        key = SiteKey { handler: OTHER, site: None, cause: stall.cause };
    }
    match rows.get_mut(&key) {
        Some(row) => row.merge(&own),
        None => drop(rows.insert(key, own)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stall::StackResult;
    use crate::stall::tests::stall;

    const MS: Nanos = 1_000_000;

    fn site(function: &str) -> Site {
        Site { function: function.into(), file: None, line: None }
    }

    /// A stall that has ended, with a site or before it is known.
    fn ended(id: u64, ms: u64, function: Option<&str>) -> Arc<LiveStall> {
        let entry = Arc::new(LiveStall::new(stall(id)));
        if let Some(function) = function {
            entry.set_stack_result(StackResult {
                site: Some(site(function)),
                ..StackResult::default()
            });
        }
        entry.end(ms * MS, 0);
        entry
    }

    fn row(totals: &StallTotals, site: Option<Site>) -> Option<SiteTotals> {
        totals.snapshot().0.into_iter().find(|(key, _)| key.site == site).map(|(_, tally)| tally)
    }

    #[test]
    fn stalls_of_one_site_are_one_row() {
        let mut totals = StallTotals::default();
        for (id, ms) in [(1, 300), (2, 200)] {
            totals.add(&ended(id, ms, Some("app::load")));
        }
        let lasts = Arc::new(LiveStall::new(stall(3)));
        lasts.set_stack_result(StackResult {
            site: Some(site("app::load")),
            ..StackResult::default()
        });
        lasts.delay(7);
        totals.add(&lasts);
        for _ in 0..2 {
            let row = row(&totals, Some(site("app::load"))).expect("there is one");
            assert_eq!((row.stalls, row.in_progress, row.last), (3, 1, 3));
            assert_eq!((row.time.as_millis(), row.longest.as_millis()), (600, 300));
            assert_eq!(row.delayed_requests, 7);
            assert_eq!(totals.snapshot().1.len(), 1);
            totals.settle(1);
        }
        assert_eq!(totals.waiting.len(), 1, "the others are summed up");
    }

    #[test]
    fn a_site_is_waited_for_a_while_after_the_end() {
        let mut totals = StallTotals::default();
        let late = ended(1, 200, None);
        totals.add(&late);
        totals.settle(1);
        late.set_stack_result(StackResult {
            site: Some(site("app::load")),
            ..StackResult::default()
        });
        totals.settle(2);
        assert!(row(&totals, Some(site("app::load"))).is_some() && totals.waiting.is_empty());
        totals.add(&ended(2, 200, None));
        totals.settle(3);
        assert_eq!(totals.waiting.len(), 1);
        totals.settle(3 + WAIT);
        assert!(totals.waiting.is_empty());
        assert_eq!(row(&totals, None).expect("without a site").stalls, 1);
    }

    #[test]
    fn what_the_environment_had_stays_there() {
        let mut totals = StallTotals::default();
        let excused = Stall { cause: Cause::Starved, handler: "environment", ..stall(1) };
        totals.add(&Arc::new(LiveStall::new(excused)));
        let real = Arc::new(LiveStall::new(stall(1)));
        totals.add(&real);
        real.end(250 * MS, 0);
        totals.settle(1);
        totals.settle(1 + WAIT);
        let row = |(key, row): &(SiteKey, SiteTotals)| {
            assert_eq!(row.longest, row.time);
            (key.handler, row.time.as_millis(), row.in_progress)
        };
        let mut rows: Vec<_> = totals.snapshot().0.iter().map(row).collect();
        rows.sort_unstable();
        assert_eq!(rows, [("GET /hello", 150, 0), ("environment", 100, 0)]);
    }

    #[test]
    fn both_bounds_hold_and_no_stall_is_lost() {
        let mut totals = StallTotals::default();
        let all = MOST_ROWS + 9;
        for id in 0..all {
            totals.add(&ended(id as u64 + 1, 200, Some(&format!("app::site_{id}"))));
        }
        totals.settle(1);
        let rows = totals.snapshot().0;
        assert_eq!(rows.len(), MOST_ROWS + 1);
        assert_eq!(rows.iter().map(|(_, row)| row.stalls).sum::<u64>(), all as u64);
        for id in 0..MOST_WAITING + 5 {
            totals.add(&ended((all + id) as u64 + 1, 200, None));
        }
        totals.settle(2);
        assert_eq!(totals.waiting.len(), MOST_WAITING);
        let stalls: u64 = totals.snapshot().0.iter().map(|(_, row)| row.stalls).sum();
        assert_eq!(stalls as usize, all + MOST_WAITING + 5);
    }
}
