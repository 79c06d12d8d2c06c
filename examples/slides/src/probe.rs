//! How the kubelet probes: when it asks, what counts as a success, and when it acts.
//!
//! The rules are those of the Kubernetes documentation, *Configure Liveness, Readiness and Startup
//! Probes*, and, where that is silent (when the next probe is due after one that took long), what
//! the kubelet does. No clock and no network in here.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Seconds, to the millisecond.
pub(crate) fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((time.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// Which of the two probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Its failure restarts the container.
    Liveness,
    /// Its failure takes the pod out of rotation.
    Readiness,
}

/// The fields of a probe in a manifest.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Probe {
    #[serde(rename = "initial_delay_seconds", serialize_with = "seconds")]
    pub(crate) initial_delay: Duration,
    #[serde(rename = "period_seconds", serialize_with = "seconds")]
    pub(crate) period: Duration,
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    pub(crate) timeout: Duration,
    pub(crate) success_threshold: u32,
    pub(crate) failure_threshold: u32,
}

impl Probe {
    /// When the first probe is sent, counted from the start of the container: at the first tick of
    /// the period that is not before the initial delay.
    pub(crate) fn first(&self) -> Duration {
        self.period * self.initial_delay.as_nanos().div_ceil(self.period.as_nanos()) as u32
    }

    /// When the probe is sent that follows one from `began` to `ended`: at the next tick, or at
    /// once if that has passed. Several ticks that have passed count once.
    pub(crate) fn next(&self, began: Duration, ended: Duration) -> Duration {
        let ticks = (began.as_nanos() / self.period.as_nanos()) as u32;
        (self.period * (ticks + 1)).max(ended)
    }
}

/// What came of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    Failure,
}

impl Outcome {
    /// By the status of the answer; `None` if there was none in time, or no connection.
    pub(crate) fn of(status: Option<u16>) -> Self {
        match status {
            Some(200..=399) => Self::Success,
            _ => Self::Failure,
        }
    }
}

/// What the outcomes of a container's probes amount to.
#[derive(Debug)]
pub(crate) struct Verdict {
    success_threshold: u32,
    failure_threshold: u32,
    passes: bool,
    last: Option<Outcome>,
    /// How many outcomes in a row were like the last.
    run: u32,
}

impl Verdict {
    /// A container is alive until its probe says otherwise, and not ready until its probe says so.
    pub(crate) fn new(kind: Kind, probe: &Probe) -> Self {
        Self {
            success_threshold: probe.success_threshold,
            failure_threshold: probe.failure_threshold,
            passes: kind == Kind::Liveness,
            last: None,
            run: 0,
        }
    }

    /// Counts an outcome. Says what the verdict is now if it is another than before.
    pub(crate) fn count(&mut self, outcome: Outcome) -> Option<bool> {
        self.run = if self.last == Some(outcome) { self.run + 1 } else { 1 };
        self.last = Some(outcome);
        let (threshold, passes) = match outcome {
            Outcome::Success => (self.success_threshold, true),
            Outcome::Failure => (self.failure_threshold, false),
        };
        let changes = self.run >= threshold && passes != self.passes;
        self.passes = if changes { passes } else { self.passes };
        changes.then_some(passes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(success_threshold: u32, failure_threshold: u32) -> Probe {
        Probe {
            initial_delay: Duration::from_secs(10),
            period: Duration::from_secs(5),
            timeout: Duration::from_secs(5),
            success_threshold,
            failure_threshold,
        }
    }

    /// Feeds outcomes (`+` a success, `-` a failure) and shows after each what has changed:
    /// `p` it passes now, `f` it fails now, `.` nothing.
    #[track_caller]
    fn check(kind: Kind, (success, failure): (u32, u32), outcomes: &str, expected: &str) {
        let mut verdict = Verdict::new(kind, &probe(success, failure));
        let changes: String = outcomes
            .chars()
            .map(|outcome| match outcome {
                '+' => Outcome::Success,
                _ => Outcome::Failure,
            })
            .map(|outcome| match verdict.count(outcome) {
                Some(true) => 'p',
                Some(false) => 'f',
                None => '.',
            })
            .collect();
        assert_eq!(changes, expected, "{kind:?} with {success} and {failure} after {outcomes}");
    }

    #[test]
    fn a_restart_comes_with_the_last_of_the_failures_in_a_row() {
        check(Kind::Liveness, (1, 1), "+-", ".f");
        check(Kind::Liveness, (1, 2), "--", ".f");
        check(Kind::Liveness, (1, 2), "++--", "...f");
        check(Kind::Liveness, (1, 3), "+---", "...f");
    }

    #[test]
    fn one_success_begins_the_count_anew() {
        check(Kind::Liveness, (1, 2), "-+-+-+", "......");
        check(Kind::Liveness, (1, 3), "--+--+---", "........f");
    }

    #[test]
    fn a_pod_is_ready_after_enough_successes_in_a_row() {
        check(Kind::Readiness, (1, 2), "+", "p");
        check(Kind::Readiness, (2, 2), "++", ".p");
        check(Kind::Readiness, (3, 2), "++-++++", ".....p.");
    }

    #[test]
    fn a_pod_that_was_never_ready_does_not_get_less() {
        check(Kind::Readiness, (1, 2), "----+", "....p");
    }

    #[test]
    fn a_pod_leaves_the_rotation_and_comes_back() {
        check(Kind::Readiness, (1, 2), "+--", "p.f");
        check(Kind::Readiness, (1, 2), "+-+-+", "p....");
        check(Kind::Readiness, (1, 2), "+----+", "p.f..p");
        check(Kind::Readiness, (2, 2), "++--+-++", ".p.f...p");
    }

    #[test]
    fn the_status_of_the_answer_counts_and_none_is_a_failure() {
        for status in [200, 204, 301, 399] {
            assert_eq!(Outcome::of(Some(status)), Outcome::Success, "{status}");
        }
        for status in [100, 199, 400, 404, 500, 503] {
            assert_eq!(Outcome::of(Some(status)), Outcome::Failure, "{status}");
        }
        assert_eq!(Outcome::of(None), Outcome::Failure);
    }

    #[test]
    fn the_first_probe_waits_for_the_initial_delay() {
        let seconds = Duration::from_secs;
        for (initial_delay, first) in [(0, 0), (1, 5), (5, 5), (10, 10), (11, 15)] {
            let probe = Probe { initial_delay: seconds(initial_delay), ..probe(1, 2) };
            assert_eq!(probe.first(), seconds(first), "initial delay {initial_delay}");
        }
    }

    #[test]
    fn probes_keep_to_the_period_and_never_overlap() {
        let seconds = Duration::from_secs;
        let probe = probe(1, 2);
        for (began, ended, next) in [
            (10, 10, 15),
            (10, 14, 15),
            (10, 15, 15), // a time-out as long as the period
            (11, 11, 15), // late: the tick stays
            (11, 16, 16), // past the next tick: at once,
            (16, 16, 20), // and then by the tick again
            (10, 27, 27), // two ticks missed count once
        ] {
            let found = probe.next(seconds(began), seconds(ended));
            assert_eq!(found, seconds(next), "from {began} to {ended}");
        }
    }
}
