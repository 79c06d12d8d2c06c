//! The last stalls, newest first, and with them the sums of all.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use super::totals::StallTotals;
#[cfg(feature = "admin")]
use super::totals::{SiteKey, SiteTotals};
use super::{Cause, Site, Stack, Stall};
use crate::clock::{self, Nanos};
use crate::sync::{AtomicU64, Ordering, lock, try_lock};

use Ordering::{Acquire, Release};

/// A stall in the store: what was known when it was counted, and what still moves.
#[derive(Debug)]
pub(crate) struct LiveStall {
    counted: Stall,
    detail: OnceLock<String>,
    taken: OnceLock<StackResult>,
    lasted: AtomicU64,
    delayed: AtomicU64,
    /// Requests in flight at its end; not there before.
    ended: OnceLock<u64>,
}

/// What came of the stack that was wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct StackResult {
    pub(crate) site: Option<Site>,
    /// What to write instead, if the stack tells more than the cause.
    pub(crate) fix: Option<&'static str>,
    /// The call it was in, and what that was given, to come after its name.
    pub(crate) given: Option<(&'static str, String)>,
    pub(crate) stack: Option<Arc<Stack>>,
    /// Why it is not there, or not whole.
    pub(crate) missing: Option<&'static str>,
}

impl StackResult {
    /// There is none, and why.
    pub(crate) fn missing(why: &'static str) -> Self {
        Self { missing: Some(why), ..Self::default() }
    }
}

impl LiveStall {
    pub(crate) fn new(counted: Stall) -> Self {
        let lasted = AtomicU64::new(crate::clock::nanos(counted.duration));
        Self {
            counted,
            detail: OnceLock::new(),
            taken: OnceLock::new(),
            lasted,
            delayed: AtomicU64::new(0),
            ended: OnceLock::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.counted.id
    }

    pub(crate) fn cause(&self) -> Cause {
        self.counted.cause
    }

    /// Says how long it has lasted by now.
    pub(crate) fn last(&self, lasted: Nanos) {
        self.lasted.store(lasted, Release);
    }

    /// Says what the thread waits for.
    pub(crate) fn set_detail(&self, detail: String) {
        // The first to know is right.
        drop(self.detail.set(detail));
    }

    /// Says where the thread was.
    pub(crate) fn set_stack_result(&self, taken: StackResult) {
        // The first to know is right.
        drop(self.taken.set(taken));
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Whether it is known what came of its stack.
    pub(crate) fn has_stack_result(&self) -> bool {
        self.taken.get().is_some()
    }

    /// The function of the site, once a stack is known; `unknown` if it has no frame of the
    /// user's.
    pub(crate) fn site(&self) -> Option<&str> {
        let site = &self.taken.get()?.site;
        Some(site.as_ref().map_or("unknown", |site| site.function.as_str()))
    }

    pub(crate) fn handler(&self) -> &'static str {
        self.counted.handler
    }

    /// Says how many other requests it has held up by now.
    pub(crate) fn delay(&self, requests: u64) {
        self.delayed.store(requests, Release);
    }

    pub(crate) fn end(&self, lasted: Nanos, requests_in_flight: u64) {
        self.last(lasted);
        // It ends once.
        let _ = self.ended.set(requests_in_flight);
    }

    /// The stall as it stands.
    pub(crate) fn stall(&self) -> Stall {
        let requests_in_flight_at_end = self.ended.get().copied();
        let in_progress = requests_in_flight_at_end.is_none();
        let delayed_requests = self.delayed.load(Acquire);
        let duration = Duration::from_nanos(self.lasted.load(Acquire));
        let taken = self.taken.get().cloned().unwrap_or_default();
        let StackResult { site, fix, given, stack, missing: stack_missing } = taken;
        let detail = self.detail.get().map(|detail| match &given {
            // The call comes first; the thread may be in another by the time of the stack.
            Some((call, given)) => match detail.strip_prefix(call) {
                Some(rest) if rest.is_empty() || rest.starts_with(", ") => {
                    format!("{call}{given}{rest}")
                }
                _ => detail.clone(),
            },
            None => detail.clone(),
        });
        let counted = self.counted.clone();
        let fix = fix.unwrap_or(counted.fix);
        Stall {
            duration,
            in_progress,
            detail,
            fix,
            site,
            stack,
            stack_missing,
            requests_in_flight_at_end,
            delayed_requests,
            ..counted
        }
    }
}

/// Keeps the newest, and sums of all.
#[derive(Debug)]
pub(crate) struct StallStore {
    kept: Mutex<Kept>,
    pub(crate) most: usize,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Arc<LiveStall>>,
    totals: StallTotals,
}

impl StallStore {
    pub(crate) fn new(most: usize) -> Self {
        Self { kept: Mutex::default(), most }
    }

    /// Moves all of `new` in, oldest first and in place of older ones of the same number, unless a
    /// reader holds the store just now: then they stay where they are for the next time.
    pub(crate) fn take_over(&self, new: &mut Vec<Arc<LiveStall>>) {
        let Some(mut kept) = try_lock(&self.kept) else { return };
        let Kept { entries, totals } = &mut *kept;
        for entry in new.drain(..) {
            totals.add(&entry);
            match entries.iter_mut().find(|known| known.counted.id == entry.counted.id) {
                Some(known) => *known = entry,
                None => entries.push_front(entry),
            }
        }
        entries.truncate(self.most);
        totals.settle(clock::now());
    }

    pub(crate) fn stalls(&self) -> Vec<Stall> {
        let entries: Vec<_> = lock(&self.kept).entries.iter().cloned().collect();
        entries.iter().map(|entry| entry.stall()).collect()
    }

    /// All of it as of one moment.
    #[cfg(feature = "admin")]
    pub(crate) fn snapshot(&self) -> StoreSnapshot {
        let kept = lock(&self.kept);
        let (sums, in_progress) = kept.totals.snapshot();
        let lasts = |entry: &Arc<LiveStall>| in_progress.iter().any(|stall| stall.id == entry.id());
        let ended: Vec<_> = kept.entries.iter().filter(|entry| !lasts(entry)).cloned().collect();
        drop(kept);
        let recent = ended.iter().map(|entry| entry.stall()).collect();
        StoreSnapshot { sums, in_progress, recent }
    }
}

/// What is known of the stalls of a process.
#[cfg(feature = "admin")]
pub(crate) struct StoreSnapshot {
    /// All stalls since the start, summed up by site.
    pub(crate) sums: Vec<(SiteKey, SiteTotals)>,
    /// Those that still last, newest first: also such that newer ones have pushed out.
    pub(crate) in_progress: Vec<Stall>,
    /// Those of the kept ones that have ended, newest first.
    pub(crate) recent: Vec<Stall>,
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::SystemTime;

    use super::*;

    /// A stall to fill in.
    pub(crate) fn stall(id: u64) -> Stall {
        Stall {
            id,
            runtime: "main",
            worker: Some(0),
            handler: "GET /hello",
            cause: Cause::Unknown,
            detail: None,
            site: None,
            stack: None,
            stack_missing: None,
            started_at: SystemTime::UNIX_EPOCH,
            duration: Duration::from_millis(100),
            in_progress: true,
            fix: Cause::Unknown.fix(),
            workers: 4,
            workers_stalled: 1,
            requests_in_flight: 0,
            requests_in_flight_at_end: None,
            delayed_requests: 0,
            trace_id: None,
        }
    }

    #[test]
    fn the_newest_are_kept_and_come_first() {
        let store = StallStore::new(3);
        let mut new: Vec<_> = (1..=5).map(|id| Arc::new(LiveStall::new(stall(id)))).collect();
        store.take_over(&mut new);
        assert!(new.is_empty());
        let ids: Vec<_> = store.stalls().iter().map(|stall| stall.id).collect();
        assert_eq!(ids, [5, 4, 3]);
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
            entry.set_detail(detail.into());
            let given = Some(("nanosleep", ", 5 s".to_owned()));
            entry.set_stack_result(StackResult { given, ..StackResult::default() });
            entry.stall().detail.expect("set")
        };
        assert_eq!(detail("nanosleep"), "nanosleep, 5 s");
        assert_eq!(detail("nanosleep, starved for 6 ms"), "nanosleep, 5 s, starved for 6 ms");
        assert_eq!(detail("futex, starved for 6 ms"), "futex, starved for 6 ms", "another call");
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
