//! The largest lags of the last ten minutes, for the page. Only the watchdog writes them.

use crate::clock::Nanos;
use crate::sync::{AtomicU64, Ordering};

use Ordering::Relaxed;

/// The time that a point stands for.
pub(crate) const STEP: Nanos = 2_000_000_000;
/// Points kept: ten minutes.
pub(crate) const POINTS: usize = 300;

/// A ring of points. The upper half of a point is the number of its step, which tells points of an
/// earlier round apart. The lower half is the lag in microseconds.
#[derive(Debug)]
pub(crate) struct LagHistory(Box<[AtomicU64]>);

impl Default for LagHistory {
    fn default() -> Self {
        Self((0..POINTS).map(|_| AtomicU64::new(0)).collect())
    }
}

impl LagHistory {
    /// A tick woke this late, or is missing and this late by now.
    pub(crate) fn note(&self, now: Nanos, lag: Nanos) {
        let point = &self.0[(now / STEP) as usize % POINTS];
        let lag = u32::try_from(lag / 1000).unwrap_or(u32::MAX);
        let noted = number(now) << 32 | u64::from(lag);
        // In the same step, a larger lag is a larger number.
        point.store(noted.max(point.load(Relaxed)), Relaxed);
    }

    /// The largest lag of each step up to now, oldest first; `None` without a tick.
    #[cfg(any(feature = "admin", test))]
    pub(crate) fn points(&self, now: Nanos) -> Vec<Option<Nanos>> {
        let last = now / STEP;
        let steps = (0..POINTS as u64).rev().map(|back| last.checked_sub(back));
        steps
            .map(|step| {
                let noted = self.0[step? as usize % POINTS].load(Relaxed);
                (noted >> 32 == number(step? * STEP)).then_some((noted & 0xffff_ffff) * 1000)
            })
            .collect()
    }
}

/// The number of a step, from 1. It fits into 32 bits for 272 years.
fn number(now: Nanos) -> u64 {
    now / STEP + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;

    #[test]
    fn each_step_keeps_its_largest_lag_for_ten_minutes() {
        let history = LagHistory::default();
        history.note(1, 3 * MS);
        history.note(2, 7 * MS);
        history.note(3, MS);
        history.note(2 * STEP, 5 * MS);
        let points = history.points(2 * STEP + 1);
        assert_eq!(points.len(), POINTS);
        assert_eq!(points[POINTS - 3..], [Some(7 * MS), None, Some(5 * MS)]);
        assert!(points[..POINTS - 3].iter().all(Option::is_none));
        let round = POINTS as u64 * STEP;
        assert_eq!(history.points(round)[..2], [None, Some(5 * MS)], "what is older is gone");
        history.note(round, MS);
        assert_eq!(history.points(round)[POINTS - 1], Some(MS), "though it was larger before");
    }
}
