//! How much CPU time stacks may cost.

use std::sync::Arc;

use crate::clock::Nanos;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::own_cpu_time;

/// What is saved up at most while no stack is taken: enough for the first stack of a program, whose
/// names take the longest. A debug build takes more than ten times as long for the same names, so that two
/// seconds are gone after the first stacks.
const MOST_SAVED: Nanos = if cfg!(debug_assertions) { 20_000_000_000 } else { 2_000_000_000 };

/// Why a stall has no stack if the budget is spent.
pub(crate) const LIMITED: &str = "limited: the CPU time for stacks is spent";

/// What a look for the holder of a lock leaves of that to stacks.
const LEFT_BY_LOOKS: Nanos = MOST_SAVED / 4;

/// The CPU time for stacks, as all threads know it that spend some.
pub(super) type Account = Arc<CpuTime>;

/// CPU time for stacks.
#[derive(Debug)]
pub(super) struct CpuTime {
    spent: AtomicU64,
    /// All that was granted so far. What was not spent in time is taken back.
    granted: AtomicU64,
}

impl Default for CpuTime {
    fn default() -> Self {
        Self { spent: AtomicU64::new(0), granted: AtomicU64::new(MOST_SAVED) }
    }
}

impl CpuTime {
    /// Does some work, and adds the CPU time of this thread to what was spent.
    pub(super) fn charged<T>(&self, work: impl FnOnce() -> T) -> T {
        let begin = own_cpu_time();
        let result = work();
        self.spent.fetch_add(own_cpu_time().saturating_sub(begin), Ordering::Relaxed);
        result
    }

    /// Whether it may be looked for the holder of a lock.
    pub(super) fn admits_look(&self) -> bool {
        self.spent.load(Ordering::Relaxed) + LEFT_BY_LOOKS < self.granted.load(Ordering::Relaxed)
    }
}

/// A share of a core for stacks, by what they really cost.
#[derive(Debug)]
pub(super) struct Budget {
    account: Account,
    /// Percent of a core.
    percent: u64,
    /// When it was granted last.
    at: Option<Nanos>,
}

impl Budget {
    pub(super) fn new(account: Account, percent: u64) -> Self {
        Self { account, percent, at: None }
    }

    /// Whether another stack may be taken.
    pub(super) fn admits(&mut self, now: Nanos) -> bool {
        let CpuTime { spent, granted } = &*self.account;
        let spent = spent.load(Ordering::Relaxed);
        let elapsed = now.saturating_sub(self.at.replace(now).unwrap_or(now));
        let more = granted.load(Ordering::Relaxed) + elapsed / 100 * self.percent;
        let more = more.min(spent + MOST_SAVED);
        // Nobody else grants.
        granted.store(more, Ordering::Relaxed);
        spent < more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_hundredth_of_a_core_is_granted() {
        let account = Account::default();
        let mut budget = Budget::new(Arc::clone(&account), 1);
        let mut taken = 0;
        // Each costs 5 ms, and one is wanted every 10 ms.
        for now in (0..1000 * SECOND).step_by(10_000_000) {
            if budget.admits(now) {
                account.spent.fetch_add(5_000_000, Ordering::Relaxed);
                taken += 1;
            }
        }
        let granted = MOST_SAVED + 1000 * SECOND / 100;
        assert_eq!(taken, granted / 5_000_000, "what is saved, and 1 % of 1000 s");
    }

    #[test]
    fn cheap_stacks_are_all_taken() {
        let account = Account::default();
        let mut budget = Budget::new(Arc::clone(&account), 1);
        for now in (0..1_000 * SECOND).step_by(100_000_000) {
            assert!(budget.admits(now));
            account.spent.fetch_add(900_000, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let account = Account::default();
        let mut budget = Budget::new(Arc::clone(&account), 1);
        assert!(budget.admits(0) && budget.admits(1_000_000 * SECOND));
        account.spent.fetch_add(MOST_SAVED, Ordering::Relaxed);
        assert!(!budget.admits(1_000_000 * SECOND));
        assert!(budget.admits(1_000_001 * SECOND), "1 % of a second");
    }

    #[test]
    fn looks_leave_something_to_stacks() {
        let account = Account::default();
        let mut budget = Budget::new(Arc::clone(&account), 1);
        assert!(account.admits_look());
        account.spent.fetch_add(MOST_SAVED - LEFT_BY_LOOKS, Ordering::Relaxed);
        assert!(budget.admits(0) && !account.admits_look());
        assert!(budget.admits(SECOND) && account.admits_look(), "1 % of a second");
    }
}
