//! Time in which the whole process could not run, measured on the watchdog's own thread.

use crate::clock::Nanos;
use crate::procfs::cgroup::ControlGroups;
use crate::procfs::thread::own_delay;
use crate::stall::Cause;

/// A shorter lateness is noise.
const LATE: Nanos = 1_000_000;
/// The run-queue delay of the thread is read when it is late, and at least this often: small delays
/// add up.
const READ_INTERVAL: Nanos = 1_000_000_000;
/// How often to look up the control groups of the process, which can be moved.
const FIND_INTERVAL: Nanos = 10_000_000_000;

/// Time in which the watchdog's thread could not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LostTime {
    /// It was late without waiting for a CPU: the process was suspended.
    pub(super) suspended: Nanos,
    /// It waited for a CPU.
    pub(super) delayed: Nanos,
}

impl LostTime {
    pub(super) fn total(self) -> Nanos {
        self.suspended + self.delayed
    }

    /// What was lost since an earlier reading.
    pub(super) fn since(self, earlier: Self) -> Self {
        let delayed = self.delayed - earlier.delayed;
        Self { suspended: self.suspended - earlier.suspended, delayed }
    }
}

#[derive(Debug, Default)]
pub(super) struct Environment {
    last_scan: Nanos,
    /// Time since the last scan.
    pub(super) elapsed: Nanos,
    /// The part of it in which no scan looked after the service, since that was idle. Whether it could
    /// run then is not known.
    pub(super) unwatched: Nanos,
    /// Lost since the start of the watchdog. What a poll lost is the difference of two readings.
    pub(super) lost: LostTime,
    /// Lost since the last scan.
    pub(super) lost_since_last: LostTime,
    /// The run-queue delay when it was last read.
    last: Option<Nanos>,
    read_at: Nanos,
    quota: ControlGroups,
    found_at: Nanos,
}

impl Environment {
    pub(super) fn new(now: Nanos) -> Self {
        Self { last_scan: now, ..Self::default() }
    }

    /// A scan begins, `late` after it was due; until then the service was `idle` or not. To be called on
    /// the watchdog's thread.
    pub(super) fn update(&mut self, now: Nanos, late: Nanos, idle: bool) {
        self.elapsed = now.saturating_sub(self.last_scan);
        self.unwatched = if idle { self.elapsed } else { 0 };
        self.last_scan = now;
        self.lost_since_last = LostTime::default();
        if late >= LATE || now.saturating_sub(self.read_at) >= READ_INTERVAL {
            self.read_at = now;
            self.add(late, own_delay());
        }
    }

    fn add(&mut self, late: Nanos, own: Option<Nanos>) {
        let delayed = own.zip(self.last).map_or(0, |(own, last)| own.saturating_sub(last));
        self.last = own;
        // A wait for a CPU is part of the lateness. Only suspension explains the rest.
        let suspended = if late >= LATE { late.saturating_sub(delayed) } else { 0 };
        self.lost.delayed += delayed;
        self.lost.suspended += suspended;
        self.lost_since_last = LostTime { suspended, delayed };
    }

    /// What held up the process for most of the time since the last scan.
    pub(super) fn cause(&self) -> Option<Cause> {
        let LostTime { suspended, delayed } = self.lost_since_last;
        let cause = if suspended > delayed { Cause::Suspended } else { Cause::Starved };
        (suspended + delayed > self.elapsed / 2).then_some(cause)
    }

    /// Has it look up no control groups, which takes longer than all else of a short program.
    #[cfg(test)]
    pub(super) fn without_quota(&mut self) {
        self.found_at = self.last_scan;
    }

    /// The control groups that count throttling.
    pub(super) fn quota(&mut self, now: Nanos) -> ControlGroups {
        if self.found_at == 0 || now.saturating_sub(self.found_at) >= FIND_INTERVAL {
            self.found_at = now;
            self.quota = ControlGroups::find();
        }
        self.quota.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_without_a_wait_for_a_cpu_is_suspension() {
        let mut environment = Environment::default();
        environment.add(0, Some(1_000_000));
        environment.add(436_000_000, Some(430_000_000));
        let throttled = LostTime { delayed: 429_000_000, suspended: 7_000_000 };
        assert_eq!(environment.lost, throttled, "a quota");
        environment.add(500_000_000, Some(430_000_000));
        let stopped = LostTime { suspended: 507_000_000, ..throttled };
        assert_eq!(environment.lost, stopped, "a stop");
        environment.add(300_000, Some(430_000_000));
        assert_eq!(environment.lost, stopped, "noise");
    }

    #[test]
    fn nobody_looks_after_an_idle_service_between_two_scans() {
        let mut environment = Environment::new(1_000);
        environment.update(1_025, 0, false);
        assert_eq!((environment.elapsed, environment.unwatched), (25, 0));
        environment.update(1_525, 0, true);
        assert_eq!((environment.elapsed, environment.unwatched), (500, 500));
    }
}
