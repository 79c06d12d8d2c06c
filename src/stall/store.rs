//! The one store of stalls: those in progress, the last ones that ended, and sums of all.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::cause::Cause;
use super::frames::Site;
use super::live::LiveStall;
use super::record::Stall;
#[cfg(feature = "profile")]
use super::stack_sums::{Part, StackSums, StackTotals};
use super::totals::StallTotals;
#[cfg(feature = "admin")]
use super::totals::{SiteKey, SiteTotals};
use crate::clock::{self, Nanos};
use crate::sync::{AtomicU64, Ordering::Relaxed, lock, try_lock};

/// See the module. A stall in progress stays, however many newer ones come.
#[derive(Debug)]
pub(crate) struct StallStore {
    kept: Mutex<Kept>,
    /// How many ended stalls are kept.
    pub(crate) most: usize,
    /// When a scan last had a stall in progress, or a new one.
    open_at: AtomicU64,
    /// The largest id so far.
    last_id: AtomicU64,
}

/// Stalls that lasted during the time of a request.
#[derive(Debug)]
pub(crate) struct Overlaps {
    /// The one that lasted for the longest part of it.
    pub(crate) longest: Stall,
    /// How long that part is.
    pub(crate) time: Duration,
    /// How many there are.
    pub(crate) stalls: usize,
}

#[derive(Debug, Default)]
struct Kept {
    /// The last stalls that ended, in the order of their ends.
    recent: VecDeque<Arc<LiveStall>>,
    /// Sums of all, and the stalls in progress.
    totals: StallTotals,
}

impl StallStore {
    pub(crate) fn new(most: usize) -> Self {
        let (open_at, last_id) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { kept: Mutex::default(), most, open_at, last_id }
    }

    /// Takes all of `new`, oldest first, and moves those that have ended. A stall in progress with the
    /// same id is replaced. If the store is locked, `new` keeps them for the next call. Returns how
    /// many stalls in progress did not fit.
    pub(crate) fn take_over(&self, new: &mut Vec<Arc<LiveStall>>) -> u64 {
        let Some(mut kept) = try_lock(&self.kept) else { return 0 };
        let last_id = new.iter().map(|entry| entry.id()).max();
        let dropped = new.drain(..).map(|entry| u64::from(!kept.totals.add(&entry))).sum();
        kept.settle(self.most);
        if last_id.is_some() || kept.totals.open().next().is_some() {
            self.open_at.store(clock::now(), Relaxed);
        }
        drop(kept);
        self.last_id.fetch_max(last_id.unwrap_or(0), Relaxed);
        dropped
    }

    /// Stalls in progress and the last ones that ended, newest first.
    pub(crate) fn stalls(&self) -> Vec<Stall> {
        let mut kept = lock(&self.kept);
        kept.settle(self.most);
        let mut stalls: Vec<_> = kept.entries().map(|entry| entry.stall()).collect();
        drop(kept);
        stalls.sort_by_key(|stall| Reverse(stall.id));
        stalls
    }

    /// Stalls in progress, newest first.
    pub(crate) fn in_progress(&self) -> Vec<Stall> {
        let kept = lock(&self.kept);
        let open = kept.totals.open().map(|entry| entry.stall());
        let mut stalls: Vec<_> = open.filter(|stall| stall.in_progress).collect();
        drop(kept);
        stalls.sort_by_key(|stall| Reverse(stall.id));
        stalls
    }

    /// The largest id of a stall so far, or 0.
    pub(crate) fn last_id(&self) -> u64 {
        self.last_id.load(Relaxed)
    }

    /// Whether a stall was in progress at a scan since then.
    pub(crate) fn was_open_since(&self, then: Nanos) -> bool {
        self.open_at.load(Relaxed) > then
    }

    /// The ids of stalls on that worker after the one with the id `after`. Never waits: `None` if the store
    /// is locked.
    pub(crate) fn ids_on(&self, worker: Option<usize>, after: u64) -> Option<Vec<u64>> {
        let kept = try_lock(&self.kept)?;
        let stalls = kept.entries().filter(|entry| entry.id() > after && entry.worker() == worker);
        Some(stalls.map(|entry| entry.id()).collect())
    }

    /// The stalls of that runtime's handlers that lasted for at least `least` between these times, but for
    /// `own`. Never waits: `None` if the store is locked.
    pub(crate) fn overlaps(
        &self,
        runtime: &str,
        (from, to): (Nanos, Nanos),
        least: Duration,
        own: &[u64],
    ) -> Option<Option<Overlaps>> {
        let (from, to) = (clock::wall(from), clock::wall(to));
        let kept = try_lock(&self.kept)?;
        // Those before them ended earlier.
        let recent = kept.recent.iter().rev().take_while(|entry| entry.ended_at() >= from);
        let mut found: Option<(Duration, &Arc<LiveStall>)> = None;
        let mut stalls = 0;
        for entry in kept.totals.open().chain(recent) {
            let counts = !entry.cause().is_environment() && entry.is_on(runtime);
            let time = entry.ended_at().min(to).duration_since(entry.started_at().max(from));
            if let Ok(time) = time
                && counts
                && time >= least
                && !own.contains(&entry.id())
            {
                stalls += 1;
                found = found.filter(|(longest, _)| *longest >= time).or(Some((time, entry)));
            }
        }
        let found = found.map(|(time, entry)| (time, Arc::clone(entry)));
        drop(kept);
        Some(found.map(|(time, entry)| Overlaps { longest: entry.stall(), time, stalls }))
    }

    /// Everything, as of one moment.
    #[cfg(feature = "admin")]
    pub(crate) fn snapshot(&self) -> StoreSnapshot {
        let mut kept = lock(&self.kept);
        kept.settle(self.most);
        let (sums, in_progress) = kept.totals.snapshot();
        let lasts = |entry: &Arc<LiveStall>| in_progress.iter().any(|stall| stall.id == entry.id());
        let mut ended: Vec<_> = kept.entries().filter(|entry| !lasts(entry)).cloned().collect();
        drop(kept);
        ended.sort_by_key(|entry| Reverse(entry.id()));
        let recent = ended.iter().map(|entry| entry.stall()).collect();
        StoreSnapshot { sums, in_progress, recent }
    }

    /// The stalls of handlers by stack since the start.
    #[cfg(feature = "profile")]
    pub(crate) fn by_stack(&self) -> StackSums {
        self.with_stacks(|stacks, open| stacks.all(open))
    }

    /// Begins to sum up by stack; the number is for [`read_window`](Self::read_window) and
    /// [`close_window`](Self::close_window).
    #[cfg(feature = "profile")]
    pub(crate) fn open_window(&self) -> u64 {
        self.with_stacks(|stacks, open| stacks.open_window(open))
    }

    /// The sums since the window began or was last read; `None` once it is closed.
    #[cfg(feature = "profile")]
    pub(crate) fn read_window(&self, number: u64) -> Option<StackSums> {
        self.with_stacks(|stacks, open| stacks.read_window(number, open))
    }

    #[cfg(feature = "profile")]
    pub(crate) fn close_window(&self, number: u64) {
        self.with_stacks(|stacks, _| stacks.close_window(number));
    }

    #[cfg(feature = "profile")]
    fn with_stacks<R>(
        &self,
        call: impl FnOnce(&mut StackTotals, &mut dyn Iterator<Item = Part>) -> R,
    ) -> R {
        let mut kept = lock(&self.kept);
        kept.settle(self.most);
        let (stacks, mut open) = kept.totals.stacks();
        call(stacks, &mut open)
    }

    /// Where the last stall of a handler with that cause was. Never waits: `None` if the store is
    /// locked.
    pub(crate) fn last_site(&self, handler: &str, cause: Cause) -> Option<Site> {
        try_lock(&self.kept)?.totals.last_site(handler, cause).cloned()
    }

    /// Reads the sums if they may have changed since `version`, which is updated. Never waits: returns
    /// `false` if the store is locked.
    pub(crate) fn read_totals(&self, version: &mut u64, read: impl FnOnce(&StallTotals)) -> bool {
        let Some(kept) = try_lock(&self.kept) else { return false };
        if kept.totals.moved(version) {
            read(&kept.totals);
        }
        true
    }
}

impl Kept {
    /// Moves what has ended to the recent ones, of which it keeps the newest `most`.
    fn settle(&mut self, most: usize) {
        let Self { recent, totals } = self;
        totals.update(clock::now(), |ended| recent.push_back(ended));
        recent.drain(..recent.len().saturating_sub(most));
    }

    fn entries(&self) -> impl Iterator<Item = &Arc<LiveStall>> {
        self.totals.open().chain(&self.recent)
    }
}

/// All stalls as of one moment.
#[cfg(feature = "admin")]
pub(crate) struct StoreSnapshot {
    /// All stalls since the start, summed up by site.
    pub(crate) sums: Vec<(SiteKey, SiteTotals)>,
    /// Stalls in progress, newest first.
    pub(crate) in_progress: Vec<Stall>,
    /// The last ones that have ended, newest first.
    pub(crate) recent: Vec<Stall>,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::stall::{Cause, StackResult};

    /// A stall to fill in.
    pub(crate) fn stall(id: u64) -> Stall {
        Stall {
            id,
            runtime: "main".into(),
            worker: Some(0),
            duration: Duration::from_millis(100),
            workers: 4,
            workers_stalled: 1,
            ..Stall::new("GET /hello".into(), Cause::Unknown, SystemTime::UNIX_EPOCH)
        }
    }

    fn ids(store: &StallStore) -> Vec<u64> {
        store.stalls().iter().map(|stall| stall.id).collect()
    }

    #[test]
    fn the_last_that_ended_are_kept_and_the_newest_come_first() {
        let store = StallStore::new(3);
        let mut new: Vec<_> = (1..=5).map(|id| Arc::new(LiveStall::new(stall(id)))).collect();
        new.iter().for_each(|entry| entry.end(200_000_000, 0));
        store.take_over(&mut new);
        assert!(new.is_empty());
        assert_eq!(ids(&store), [5, 4, 3]);
    }

    #[test]
    fn what_ended_since_the_last_scan_is_no_more_than_is_kept() {
        let store = StallStore::new(2);
        let entries: Vec<_> = (1..=3).map(|id| Arc::new(LiveStall::new(stall(id)))).collect();
        store.take_over(&mut entries.clone());
        entries.iter().for_each(|entry| entry.end(200_000_000, 0));
        assert_eq!(ids(&store), [3, 2]);
    }

    #[test]
    fn a_stall_that_lasts_is_there_however_many_newer_ones_come() {
        let store = StallStore::new(2);
        let lasts = Arc::new(LiveStall::new(stall(1)));
        store.take_over(&mut vec![Arc::clone(&lasts)]);
        for id in 2..300 {
            let short = Arc::new(LiveStall::new(stall(id)));
            store.take_over(&mut vec![Arc::clone(&short)]);
            assert_eq!((ids(&store)[0], ids(&store).last()), (id, Some(&1)));
            short.end(200_000_000, 0);
        }
        lasts.end(9_000_000_000, 0);
        store.take_over(&mut Vec::new());
        assert_eq!(ids(&store), [299, 1], "the two that ended last");
    }

    #[test]
    fn a_record_says_why_something_is_missing_and_when_it_is_complete() {
        let entry = LiveStall::new(stall(1));
        let says = |pending, complete| {
            let stall = entry.stall();
            assert!(stall.stack_missing.is_some() && stall.site_missing.is_some());
            assert_eq!((stall.is_stack_pending(), stall.is_complete()), (pending, complete));
        };
        says(true, false);
        entry.end(200_000_000, 0);
        says(true, false);
        entry.set_stack_result(StackResult::default());
        says(false, false);
        entry.set_detail(None);
        says(false, true);
    }

    #[test]
    fn a_stall_moves_until_it_ends() {
        let entry = LiveStall::new(stall(1));
        entry.last(200_000_000);
        assert!(entry.stall().in_progress);
        entry.end(250_000_000, 3);
        let stall = entry.stall();
        assert_eq!((stall.in_progress, stall.duration), (false, Duration::from_millis(250)));
        assert_eq!(stall.requests_in_flight_at_end, Some(3));
    }

    #[test]
    fn what_a_call_was_given_comes_after_it() {
        let detail = |detail: &str| {
            let entry = LiveStall::new(stall(1));
            entry.set_detail(Some(detail.into()));
            let given = Some(("nanosleep", ", 5 s".to_owned()));
            entry.set_stack_result(StackResult { given, ..StackResult::default() });
            entry.stall().detail.expect("set")
        };
        assert_eq!(detail("nanosleep"), "nanosleep, 5 s");
        assert_eq!(detail("nanosleep; suspended for 6 ms"), "nanosleep, 5 s; suspended for 6 ms");
        assert_eq!(
            detail("futex; suspended for 6 ms"),
            "futex; suspended for 6 ms",
            "another call"
        );
    }

    #[test]
    fn a_reader_in_the_way_loses_nothing() {
        let store = StallStore::new(3);
        let mut new = vec![Arc::new(LiveStall::new(stall(1)))];
        let reader = store.kept.lock().expect("unpoisoned");
        store.take_over(&mut new);
        assert_eq!(new.len(), 1);
        drop(reader);
        store.take_over(&mut new);
        assert_eq!(store.stalls().len(), 1);
    }

    #[cfg(feature = "admin")]
    #[test]
    fn a_stall_that_ends_meanwhile_lasts_or_is_over_and_not_both() {
        let store = StallStore::new(256);
        let entries: Vec<_> = (0..256).map(|id| Arc::new(LiveStall::new(stall(id)))).collect();
        store.take_over(&mut entries.clone());
        std::thread::scope(|scope| {
            scope.spawn(|| entries.iter().for_each(|entry| entry.end(200_000_000, 0)));
            loop {
                let StoreSnapshot { sums, in_progress, recent } = store.snapshot();
                let lasting: u64 = sums.iter().map(|(_, tally)| tally.in_progress).sum();
                assert_eq!(lasting, in_progress.len() as u64);
                assert_eq!(in_progress.len() + recent.len(), entries.len());
                assert!(recent.iter().all(|stall| !stall.in_progress));
                if in_progress.is_empty() {
                    break;
                }
            }
        });
    }
}
