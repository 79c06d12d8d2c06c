//! Sums of all stalls since the start. The number of rows is bounded, and every stall counts in one.
//!
//! There are two tables. One is by runtime, handler and cause, for metrics that count a stall at once.
//! The other is by handler, site and cause, where the site is known some time after the stall was
//! counted. A stall never moves to another row, so that no sum shrinks.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::cause::Cause;
use super::frames::Site;
use super::live::LiveStall;
use super::record::Stall;
use super::stack_result::StackResult;
#[cfg(feature = "profile")]
use super::stack_sums::{Frames, Part, StackKey, StackSum, StackTotals};
use crate::clock::{Nanos, nanos};
use crate::label::interned;
use crate::labels::OTHER;

/// Pairs of handler and cause with rows of their own; further ones count for the handler `other`.
const MOST_PAIRS: usize = 256;
/// Sites with a row of their own; further ones share a row for each cause.
const MOST_SITES: usize = 1024;
/// Sites that the page shows, those with the most time; the others are one row for each cause.
#[cfg(any(feature = "admin", test))]
const MOST_SHOWN: usize = 256;
/// Stalls in progress that are followed. A thread is in one at a time, so only programs with thousands
/// of workers have more; these are summed up at their begin.
const MOST_OPEN: usize = 8192;
/// Stalls that have ended and wait for their site.
const MOST_WAITING: usize = 1024;
/// How long a stall waits for its site after its end: the first symbols take seconds to load.
const WAIT: Nanos = 10_000_000_000;

/// The labels of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HandlerKey {
    pub(crate) runtime: &'static str,
    pub(crate) handler: &'static str,
    pub(crate) cause: Cause,
}

/// The stalls of one [`HandlerKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HandlerTotals {
    pub(crate) stalls: u64,
    pub(crate) time: Nanos,
    /// See [`Stall::delayed_requests`].
    pub(crate) delayed: u64,
}

/// A place in a handler, and why it blocks.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SiteKey {
    pub(crate) handler: &'static str,
    pub(crate) site: Option<Site>,
    pub(crate) cause: Cause,
}

/// The stalls of one [`SiteKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SiteTotals {
    pub(crate) stalls: u64,
    /// Those in progress.
    pub(crate) in_progress: u64,
    pub(crate) time: Duration,
    pub(crate) longest: Duration,
    /// When the last of them ended, or was last seen in progress.
    pub(crate) last_seen: SystemTime,
    /// See [`Stall::delayed_requests`].
    pub(crate) delayed_requests: u64,
    pub(crate) fix: Cow<'static, str>,
    /// The id of the last of them.
    pub(crate) last: u64,
}

impl SiteTotals {
    /// A row that reserves its place in the table.
    fn empty(stall: &Stall) -> Self {
        Self {
            stalls: 0,
            in_progress: 0,
            time: Duration::ZERO,
            longest: Duration::ZERO,
            last_seen: stall.started_at,
            delayed_requests: 0,
            fix: stall.fix.clone(),
            last: 0,
        }
    }

    /// Adds stalls of another row.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.stalls += other.stalls;
        self.in_progress += other.in_progress;
        self.time = self.time.saturating_add(other.time);
        self.longest = self.longest.max(other.longest);
        self.last_seen = self.last_seen.max(other.last_seen);
        self.delayed_requests = self.delayed_requests.saturating_add(other.delayed_requests);
        if other.last > self.last {
            (self.last, self.fix) = (other.last, other.fix.clone());
        }
    }
}

/// The sums of what is settled, and the stalls in progress or without a known site.
#[derive(Debug, Default)]
pub(crate) struct StallTotals {
    handlers: HashMap<HandlerKey, HandlerTotals>,
    pairs: HashSet<(&'static str, Cause)>,
    sites: HashMap<SiteKey, SiteTotals>,
    unsettled: Vec<Unsettled>,
    #[cfg(feature = "profile")]
    stacks: StackTotals,
    /// Changes whenever `handlers` or `sites` do.
    version: u64,
}

#[derive(Clone, Debug)]
struct Unsettled {
    entry: Arc<LiveStall>,
    /// How much of its time is counted for the environment.
    counted: Nanos,
    /// When it was found to have ended.
    ended: Option<Nanos>,
    handler: HandlerKey,
    /// Its row by site, once that is known.
    site: Option<SiteKey>,
}

impl Unsettled {
    /// What it brings to its row by handler.
    fn totals(&self) -> HandlerTotals {
        HandlerTotals { stalls: 1, time: self.time(), delayed: self.entry.delayed() }
    }

    /// Whether it was in progress at the last update.
    fn is_open(&self) -> bool {
        self.ended.is_none()
    }

    fn time(&self) -> Nanos {
        self.entry.lasted().saturating_sub(self.counted)
    }

    /// Whether its rows will not be others later.
    fn is_known(&self) -> bool {
        let is_environment = self.entry.cause().is_environment();
        let has_row = cfg!(not(feature = "profile")) || is_environment;
        self.site.is_some() && (has_row || self.entry.has_stack_result())
    }

    /// What it brings to its row by stack. The environment has no stack.
    #[cfg(feature = "profile")]
    fn part(&self) -> Option<Part> {
        let HandlerKey { runtime, handler, cause } = self.handler;
        let stack = || self.entry.stall().stack;
        let frames =
            || stack().map_or(Frames::Missing, |stack| Frames::Known(stack.of_poll().into()));
        (!cause.is_environment()).then(|| {
            let key = StackKey { runtime, handler, cause, frames: frames() };
            (self.entry.id(), key, StackSum { stalls: 1, time: self.time() })
        })
    }
}

impl StallTotals {
    /// Adds a stall. One in progress with the same id is settled: it was blamed on the environment at
    /// first. Returns `false` if too many are in progress: then it is summed up as it is.
    pub(super) fn add(&mut self, entry: &Arc<LiveStall>) -> bool {
        let handler = self.admit_pair(entry);
        let entry = Arc::clone(entry);
        let mut new = Unsettled { entry, counted: 0, ended: None, handler, site: None };
        let is_same = |open: &Unsettled| open.is_open() && open.entry.id() == new.entry.id();
        let known = self.unsettled.iter().position(is_same);
        if let Some(at) = known {
            // That time stays with the environment.
            let excused = self.unsettled.remove(at);
            new.counted = excused.entry.lasted();
            self.settle(excused);
        }
        let fits = self.open().count() < MOST_OPEN;
        if fits {
            self.unsettled.push(new)
        } else {
            self.settle(new)
        }
        fits
    }

    /// Finds sites that have become known, passes stalls that have ended to `ended`, and settles those
    /// with a known site. Cheap if there is nothing new.
    pub(super) fn update(&mut self, now: Nanos, mut ended: impl FnMut(Arc<LiveStall>)) {
        if self.unsettled.is_empty() {
            return;
        }
        for stall in &mut self.unsettled {
            if stall.is_open() && stall.entry.is_ended() {
                stall.ended = Some(now);
                ended(Arc::clone(&stall.entry));
            }
            let late = stall.ended.is_some_and(|ended| now.saturating_sub(ended) >= WAIT);
            if late && !stall.entry.has_stack_result() {
                let missing = StackResult::missing("the stack did not come in time");
                stall.entry.set_stack_result(missing);
            }
            // The environment has no site.
            let is_known = stall.entry.is_site_final();
            if stall.site.is_none() && is_known {
                stall.site = Some(admit_site(&mut self.sites, &stall.entry.stall()));
            }
        }
        let over = self.unsettled.len() - self.open().count();
        let mut excess = over.saturating_sub(MOST_WAITING);
        let is_settled = |stall: &mut Unsettled| {
            let is_settled = !stall.is_open() && (stall.is_known() || excess > 0);
            excess = excess.saturating_sub(usize::from(is_settled));
            is_settled
        };
        let settled: Vec<_> = self.unsettled.extract_if(.., is_settled).collect();
        settled.into_iter().for_each(|stall| self.settle(stall));
    }

    /// Those in progress at the last update, oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = &Arc<LiveStall>> {
        self.unsettled.iter().filter(|stall| stall.is_open()).map(|stall| &stall.entry)
    }

    /// Whether sums may have changed since `version`, which is updated.
    pub(super) fn moved(&self, version: &mut u64) -> bool {
        let moved = *version != self.version || !self.unsettled.is_empty();
        *version = self.version;
        moved
    }

    /// The sums by runtime, handler and cause, including stalls in progress.
    pub(crate) fn by_handler(&self) -> HashMap<HandlerKey, HandlerTotals> {
        let mut handlers = self.handlers.clone();
        for stall in &self.unsettled {
            handlers.entry(stall.handler).or_default().add(stall.totals());
        }
        handlers
    }

    /// The site of the last stall of a handler with that cause, as far as stalls are over.
    pub(super) fn last_site(&self, handler: &str, cause: Cause) -> Option<&Site> {
        let rows = self.sites.iter().filter(|(key, row)| {
            key.handler == handler && key.cause == cause && key.site.is_some() && row.stalls > 0
        });
        rows.max_by_key(|(_, row)| row.last).and_then(|(key, _)| key.site.as_ref())
    }

    /// The time of each known site, including stalls in progress.
    pub(crate) fn site_times(&self) -> impl Iterator<Item = (&SiteKey, Nanos)> {
        let open =
            self.unsettled.iter().filter_map(|stall| Some((stall.site.as_ref()?, stall.time())));
        self.sites.iter().map(|(key, row)| (key, nanos(row.time))).chain(open)
    }

    /// The sums by site including stalls in progress, and these stalls, newest first, as of the same
    /// moment.
    #[cfg(any(feature = "admin", test))]
    pub(super) fn snapshot(&self) -> (Vec<(SiteKey, SiteTotals)>, Vec<Stall>) {
        let mut rows = self.sites.clone();
        let mut lasting = Vec::new();
        for unsettled in &self.unsettled {
            let stall = unsettled.entry.stall();
            if stall.in_progress {
                lasting.push(stall.clone());
            }
            sum(&mut rows, unsettled.site.clone(), &stall, unsettled.counted);
        }
        lasting.sort_by_key(|stall| std::cmp::Reverse(stall.id));
        (most_time(rows.into_iter().collect()), lasting)
    }

    /// The sums by stack of what is settled, and what stalls in progress would add to them.
    #[cfg(feature = "profile")]
    pub(super) fn stacks(&mut self) -> (&mut StackTotals, impl Iterator<Item = Part>) {
        (&mut self.stacks, self.unsettled.iter().filter_map(Unsettled::part))
    }

    /// Sums up a stall for good.
    fn settle(&mut self, stall: Unsettled) {
        self.version += 1;
        #[cfg(feature = "profile")]
        if let Some(part) = stall.part() {
            self.stacks.settle(part);
        }
        self.handlers.entry(stall.handler).or_default().add(stall.totals());
        let record = Stall { in_progress: false, ..stall.entry.stall() };
        sum(&mut self.sites, stall.site, &record, stall.counted);
    }

    fn admit_pair(&mut self, entry: &LiveStall) -> HandlerKey {
        let pair = (entry.handler(), entry.cause());
        if self.pairs.len() < MOST_PAIRS {
            self.pairs.insert(pair);
        }
        let handler = if self.pairs.contains(&pair) { entry.handler() } else { OTHER };
        HandlerKey { runtime: entry.runtime(), handler, cause: entry.cause() }
    }
}

impl HandlerTotals {
    fn add(&mut self, other: Self) {
        self.stalls += other.stalls;
        self.time = self.time.saturating_add(other.time);
        self.delayed = self.delayed.saturating_add(other.delayed);
    }
}

/// Reserves the row of a stall.
fn admit_site(rows: &mut HashMap<SiteKey, SiteTotals>, stall: &Stall) -> SiteKey {
    let handler = interned(stall.handler.clone());
    let mut key = SiteKey { handler, site: stall.site.clone(), cause: stall.cause };
    if rows.len() >= MOST_SITES && !rows.contains_key(&key) {
        key = SiteKey { handler: OTHER, site: None, cause: stall.cause };
    }
    rows.entry(key.clone()).or_insert_with(|| SiteTotals::empty(stall));
    key
}

/// Adds a stall to its row, except the time of it that is counted already.
fn sum(
    rows: &mut HashMap<SiteKey, SiteTotals>,
    row: Option<SiteKey>,
    stall: &Stall,
    counted: Nanos,
) {
    let row = row.unwrap_or_else(|| admit_site(rows, stall));
    let time = stall.duration.saturating_sub(Duration::from_nanos(counted));
    let totals = SiteTotals {
        stalls: 1,
        in_progress: u64::from(stall.in_progress),
        time,
        longest: time,
        last_seen: stall.started_at + stall.duration,
        delayed_requests: stall.delayed_requests,
        fix: stall.fix.clone(),
        last: stall.id,
    };
    rows.entry(row).and_modify(|row| row.merge(&totals)).or_insert(totals);
}

/// The rows with the most time; the others become one row for each cause.
#[cfg(any(feature = "admin", test))]
fn most_time(mut rows: Vec<(SiteKey, SiteTotals)>) -> Vec<(SiteKey, SiteTotals)> {
    if rows.len() > MOST_SHOWN {
        // The environment has one row for each cause.
        rows.sort_by_key(|(key, row)| (!key.cause.is_environment(), std::cmp::Reverse(row.time)));
        for (key, row) in rows.split_off(MOST_SHOWN) {
            let other = SiteKey { handler: OTHER, site: None, cause: key.cause };
            match rows.iter_mut().find(|(key, _)| *key == other) {
                Some((_, sum)) => sum.merge(&row),
                None => rows.push((other, row)),
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests;
