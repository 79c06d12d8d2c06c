//! What naming may use: CPU time where there is a quota, and memory where there is a limit.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{self, Nanos};
use crate::procfs::cgroup::{ControlGroups, CpuQuota};
use crate::sync::{AtomicBool, Ordering};
use crate::sys::own_cpu_time;

/// The share of a quota that is used at most: one in so many.
const SHARE: u64 = 5;
/// Memory that is used at most where debug information is compressed in its file.
const MOST_MEMORY: u64 = 12 << 20;
/// Lines are left out where less memory than this is left in the control group. A lookup takes some
/// hundred kilobytes.
const LEAST_LEFT: u64 = 2 << 20;
/// How often the control groups are looked up again: a process can be moved.
const LOOK_UP: Nanos = 60_000_000_000;
/// CPU time after which a lookup is given up: a broken file may lead round in circles.
const LONGEST: Nanos = 30_000_000_000;
/// CPU time for all lookups that are left when the detector stops. Code without optimization takes ten times
/// as much.
const LONGEST_AT_STOP: Nanos = if cfg!(debug_assertions) { 3_000_000_000 } else { 500_000_000 };

/// Keeps the thread that names stacks within its limits.
#[derive(Debug)]
pub(in crate::stack) struct Pace {
    groups: ControlGroups,
    /// When they were looked up.
    looked_up: Option<Nanos>,
    /// Set when the detector stops: what is left to be done is done at once, as far as there is time.
    stops: Arc<AtomicBool>,
    /// The CPU time of this thread when it saw that first.
    stopped: Option<Nanos>,
    quota: Option<CpuQuota>,
    /// The CPU time of this thread when it rested last, or began again after a pause.
    rested: Nanos,
    /// The same when the lookup began.
    began: Nanos,
    /// When it worked last.
    worked: Nanos,
}

impl Pace {
    pub(in crate::stack) fn new(stops: Arc<AtomicBool>) -> Self {
        Self {
            groups: ControlGroups::default(),
            looked_up: None,
            stops,
            stopped: None,
            quota: None,
            rested: 0,
            began: 0,
            worked: 0,
        }
    }

    /// Reads the limits as they are now. Returns how much memory may be used; `None` where there is
    /// too little of it for lines.
    pub(in crate::stack) fn begin(&mut self) -> Option<u64> {
        let now = clock::now();
        if self.looked_up.is_none_or(|at| now.saturating_sub(at) >= LOOK_UP) {
            self.looked_up = Some(now);
            self.groups = ControlGroups::find();
        }
        self.quota = self.groups.cpu_quota();
        self.began = own_cpu_time();
        let period = self.quota.map_or(0, |quota| quota.period);
        if now.saturating_sub(self.worked) >= period {
            self.rested = self.began;
        }
        memory(self.groups.memory_left())
    }

    /// Rests if the share of the quota is used up. Returns whether the lookup may go on.
    pub(in crate::stack) fn keep(&mut self) -> bool {
        self.goes_on(own_cpu_time())
    }

    /// The same where the thread has used so much CPU time.
    fn goes_on(&mut self, used: Nanos) -> bool {
        if self.stops.load(Ordering::Acquire) {
            let stopped = *self.stopped.get_or_insert(used);
            return used.saturating_sub(stopped) < LONGEST_AT_STOP;
        }
        if let Some(quota) = self.quota {
            self.rest(quota, used);
        }
        used.saturating_sub(self.began) < LONGEST
    }

    fn rest(&mut self, CpuQuota { time, period }: CpuQuota, used: Nanos) {
        self.worked = clock::now();
        if used.saturating_sub(self.rested) >= time / SHARE {
            std::thread::sleep(Duration::from_nanos(period));
            self.rested = used;
        }
    }
}

fn memory(left: Option<u64>) -> Option<u64> {
    match left {
        None => Some(MOST_MEMORY),
        Some(left) => (left >= LEAST_LEFT).then_some(MOST_MEMORY.min(left / 2)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(stops: bool) -> Pace {
        let mut pace = Pace::new(Arc::new(AtomicBool::new(stops)));
        pace.quota = Some(CpuQuota { time: 10_000_000, period: 20_000_000 });
        pace.rested = own_cpu_time();
        pace
    }

    /// How often it rests in so much CPU time.
    fn rests(pace: &mut Pace, time: Nanos) -> u32 {
        let begin = own_cpu_time();
        let mut rests = 0;
        while own_cpu_time() < begin + time {
            let before = pace.rested;
            let _ = pace.keep();
            rests += u32::from(pace.rested != before);
        }
        rests
    }

    #[test]
    fn a_fifth_of_the_quota_is_used_in_a_period() {
        assert!((3..=5).contains(&rests(&mut pace(false), 10_000_000)), "each 2 ms of 10");
        assert_eq!(rests(&mut pace(true), 10_000_000), 0, "when it stops it hurries");
        let mut unlimited = pace(false);
        unlimited.quota = None;
        assert_eq!(rests(&mut unlimited, 10_000_000), 0);
    }

    #[test]
    fn what_is_left_at_a_stop_has_a_bounded_time() {
        let mut pace = pace(true);
        let first = LONGEST;
        assert!(pace.goes_on(first));
        assert!(pace.goes_on(first + LONGEST_AT_STOP - 1));
        assert!(!pace.goes_on(first + LONGEST_AT_STOP));
        let _ = pace.begin();
        assert!(!pace.goes_on(first + LONGEST_AT_STOP), "for all lookups in sum");
    }

    #[test]
    fn half_of_what_is_left_may_be_used() {
        assert_eq!(memory(None), Some(MOST_MEMORY));
        assert_eq!(memory(Some(1 << 30)), Some(MOST_MEMORY));
        assert_eq!(memory(Some(6 << 20)), Some(3 << 20));
        assert_eq!(memory(Some(1 << 20)), None);
    }
}
