//! How much CPU time stacks may cost.

use std::sync::Arc;

use crate::clock::Nanos;
use crate::sync::{AtomicU64, Ordering};
use crate::sys::own_cpu_time;

/// What is saved up at most while no stack is taken: enough for the first stack of a program, whose
/// names take the longest.
const MOST_SAVED: Nanos = 2_000_000_000;

/// Why a stall has no stack if the budget is spent.
pub(crate) const LIMITED: &str = "limited: the CPU time for stacks is spent";

/// CPU time that was spent, by all threads that spend it.
pub(super) type Spent = Arc<AtomicU64>;

/// Does some work, and adds the CPU time of this thread to what was spent.
pub(super) fn charged<T>(spent: &Spent, work: impl FnOnce() -> T) -> T {
    let begin = own_cpu_time();
    let result = work();
    spent.fetch_add(own_cpu_time().saturating_sub(begin), Ordering::Relaxed);
    result
}

/// A share of a core for stacks, by what they really cost.
#[derive(Debug)]
pub(super) struct Budget {
    spent: Spent,
    /// Percent of a core.
    percent: u64,
    /// All that was granted so far. What was not spent in time is taken back.
    granted: Nanos,
    /// When it was granted last.
    at: Option<Nanos>,
}

impl Budget {
    pub(super) fn new(spent: Spent, percent: u64) -> Self {
        Self { spent, percent, granted: MOST_SAVED, at: None }
    }

    /// Whether another stack may be taken.
    pub(super) fn admits(&mut self, now: Nanos) -> bool {
        let spent = self.spent.load(Ordering::Relaxed);
        let elapsed = now.saturating_sub(self.at.replace(now).unwrap_or(now));
        self.granted = (self.granted + elapsed / 100 * self.percent).min(spent + MOST_SAVED);
        spent < self.granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_hundredth_of_a_core_is_granted() {
        let spent = Spent::default();
        let mut budget = Budget::new(Arc::clone(&spent), 1);
        let mut taken = 0;
        // Each costs 5 ms, and one is wanted every 10 ms.
        for now in (0..100 * SECOND).step_by(10_000_000) {
            if budget.admits(now) {
                spent.fetch_add(5_000_000, Ordering::Relaxed);
                taken += 1;
            }
        }
        let granted = MOST_SAVED + 100 * SECOND / 100;
        assert_eq!(taken, granted / 5_000_000, "what is saved, and 1 % of 100 s");
    }

    #[test]
    fn cheap_stacks_are_all_taken() {
        let spent = Spent::default();
        let mut budget = Budget::new(Arc::clone(&spent), 1);
        for now in (0..1_000 * SECOND).step_by(100_000_000) {
            assert!(budget.admits(now));
            spent.fetch_add(900_000, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_saved_is_bounded() {
        let spent = Spent::default();
        let mut budget = Budget::new(Arc::clone(&spent), 1);
        assert!(budget.admits(0) && budget.admits(1_000_000 * SECOND));
        spent.fetch_add(MOST_SAVED, Ordering::Relaxed);
        assert!(!budget.admits(1_000_000 * SECOND));
        assert!(budget.admits(1_000_001 * SECOND), "1 % of a second");
    }
}
