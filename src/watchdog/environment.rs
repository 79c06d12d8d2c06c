//! Time in which the whole process could not run, measured on the watchdog's own thread.

use crate::clock::Nanos;
use crate::procfs::cgroup::ControlGroups;
use crate::procfs::thread::own_delay;
use crate::stall::Cause;

/// A wake-up that is late by less is ordinary noise.
const LATE: Nanos = 1_000_000;
/// The thread's run-queue delay is read when it is late, and at least this often: small delays add up.
const READ: Nanos = 1_000_000_000;
/// How long the process is taken to stay in its control groups.
const FIND: Nanos = 10_000_000_000;

/// Sums since the watchdog began. What a poll suffered is the difference between two moments.
#[derive(Debug, Default)]
pub(super) struct Environment {
    /// The watchdog was late without having waited for a CPU: the process stood still.
    pub(super) suspended: Nanos,
    /// The watchdog waited for a CPU.
    pub(super) delayed: Nanos,
    last: Option<Nanos>,
    read_at: Nanos,
    /// `delayed` and `suspended` in this scan alone.
    since_last: (Nanos, Nanos),
    quota: ControlGroups,
    found_at: Nanos,
}

impl Environment {
    /// A scan begins, that much later than it should. On the watchdog's thread.
    pub(super) fn update(&mut self, now: Nanos, late: Nanos) {
        self.since_last = (0, 0);
        if late >= LATE || now.saturating_sub(self.read_at) >= READ {
            self.read_at = now;
            self.add(late, own_delay());
        }
    }

    fn add(&mut self, late: Nanos, own: Option<Nanos>) {
        let delayed = match (self.last, own) {
            (Some(last), Some(own)) => own.saturating_sub(last),
            _ => 0,
        };
        self.last = own;
        // A wait for a CPU makes late too; only the rest of the lateness has no other explanation.
        let suspended = if late >= LATE { late.saturating_sub(delayed) } else { 0 };
        self.delayed += delayed;
        self.suspended += suspended;
        self.since_last = (delayed, suspended);
    }

    /// For how long the watchdog could not run, since it began.
    pub(super) fn lost(&self) -> Nanos {
        self.suspended + self.delayed
    }

    /// For how long it could not since the last scan.
    pub(super) fn lost_since_last(&self) -> Nanos {
        self.since_last.0 + self.since_last.1
    }

    /// What held the process up for most of the time since the last scan.
    pub(super) fn cause_of(&self, time: Nanos) -> Option<Cause> {
        let (delayed, suspended) = self.since_last;
        (delayed + suspended > time / 2).then_some(match suspended > delayed {
            true => Cause::Suspended,
            false => Cause::Starved,
        })
    }

    /// Where throttling is counted. Looked up again now and then: a process can be moved.
    pub(super) fn quota(&mut self, now: Nanos) -> ControlGroups {
        if self.found_at == 0 || now.saturating_sub(self.found_at) >= FIND {
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
        assert_eq!(
            (environment.delayed, environment.suspended),
            (429_000_000, 7_000_000),
            "a quota"
        );
        environment.add(500_000_000, Some(430_000_000));
        assert_eq!(
            (environment.delayed, environment.suspended),
            (429_000_000, 507_000_000),
            "a stop"
        );
        environment.add(300_000, Some(430_000_000));
        assert_eq!(environment.suspended, 507_000_000, "noise");
    }
}
