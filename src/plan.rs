//! When the kubelet acts on a freeze: arithmetic for probes, without a detector.

use std::time::Duration;

/// A probe of the kubelet, and when it acts on a freeze: a liveness probe restarts the container, a
/// readiness probe takes the pod out of its Services.
///
/// ```
/// use std::time::Duration;
/// use tower_stall::ProbePlan;
///
/// let seconds = Duration::from_secs;
/// let plan = ProbePlan::default(); // every 10 s, with a time-out of 1 s, 3 failures
///
/// // On the service's own runtime: restarted 21 to 31 s after the runtime froze.
/// let own = plan.own_runtime();
/// assert_eq!((own.earliest, own.latest), (seconds(21), seconds(31)));
///
/// // On `/livez`: after 80 to 90 s. A freeze of less than 80 s is survived.
/// let livez = plan.livez();
/// assert_eq!((livez.earliest, livez.latest), (seconds(80), seconds(90)));
///
/// // A faster readiness probe on `/readyz`: out of the load balancer after 1 to 6 s.
/// let readyz = ProbePlan::new(seconds(5), seconds(2), 1)?.readyz();
/// assert_eq!((readyz.earliest, readyz.latest), (seconds(1), seconds(6)));
/// # Ok::<(), tower_stall::ProbePlanError>(())
/// ```
///
/// # What it goes by
///
/// The kubelet's worker for a probe (`pkg/kubelet/prober/worker.go` in kubernetes/kubernetes), and
/// the reference of `periodSeconds`, `timeoutSeconds` and `failureThreshold` in *Configure Liveness,
/// Readiness and Startup Probes* (kubernetes.io):
///
/// - Probes of one kind and container run one after another, on a ticker of the period. The phase
///   of the ticker is chance, so the first probe that meets a freeze begins up to one period after it.
/// - Go's ticker (`time.NewTicker`) keeps one tick for a receiver that is late and drops others. So a
///   probe that takes longer than the period is followed by the next at once.
/// - A probe without an answer fails when the time-out is over, and is not tried again before the next.
/// - The kubelet acts at the end of the last of `failureThreshold` failures in a row. One success
///   begins the count anew.
///
/// A freeze is one unbroken time in which the runtime answers nothing. Before it, probes are answered
/// at once: what they take is to be added to `latest`. So are, on the admin port, the few tens of
/// milliseconds that the watchdog may be late. What is not in here: start-up (initial delay, startup
/// probe), and what comes after the kubelet has decided (`preStop`, SIGTERM, the grace period; the
/// way of the news to each load balancer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct ProbePlan {
    period: Duration,
    timeout: Duration,
    failure_threshold: u32,
    dead_after: Duration,
    unready_after: Duration,
}

/// When the kubelet acts, counted from the begin of a freeze that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProbeWindow {
    /// Not before. Every freeze that is shorter than this is survived.
    pub earliest: Duration,
    /// Before this. No freeze of this length is survived.
    pub latest: Duration,
}

/// Why there is no [`ProbePlan`] of these values: the kubelet does not take them either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbePlanError {
    /// The period is zero.
    #[error("period is 0: use the probe's periodSeconds, 1s or more (the default is 10s)")]
    PeriodZero,
    /// The time-out is zero.
    #[error("timeout is 0: use the probe's timeoutSeconds, 1s or more (the default is 1s)")]
    TimeoutZero,
    /// The failure threshold is zero.
    #[error(
        "failure threshold is 0: use the probe's failureThreshold, 1 or more (the default is 3)"
    )]
    FailureThresholdZero,
}

impl ProbePlan {
    /// `periodSeconds` of a probe that does not say it.
    pub const DEFAULT_PERIOD: Duration = Duration::from_secs(10);
    /// `timeoutSeconds` of a probe that does not say it.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
    /// `failureThreshold` of a probe that does not say it.
    pub const DEFAULT_FAILURE_THRESHOLD: u32 = 3;
    /// The detector's `dead_after`, unless set.
    const DEFAULT_DEAD_AFTER: Duration = Duration::from_secs(60);
    /// The detector's `unready_after`, unless set.
    const DEFAULT_UNREADY_AFTER: Duration = Duration::from_secs(1);

    /// A probe's `periodSeconds`, `timeoutSeconds` and `failureThreshold`.
    ///
    /// # Errors
    ///
    /// If one of them is zero.
    pub fn new(
        period: Duration,
        timeout: Duration,
        failure_threshold: u32,
    ) -> Result<Self, ProbePlanError> {
        if period.is_zero() {
            return Err(ProbePlanError::PeriodZero);
        }
        if timeout.is_zero() {
            return Err(ProbePlanError::TimeoutZero);
        }
        if failure_threshold == 0 {
            return Err(ProbePlanError::FailureThresholdZero);
        }
        Ok(Self { period, timeout, failure_threshold, ..Self::default() })
    }

    /// The detector's [`dead_after`](crate::Builder::dead_after): 60 s unless set.
    pub fn dead_after(self, dead_after: Duration) -> Self {
        Self { dead_after, ..self }
    }

    /// The detector's [`unready_after`](crate::Builder::unready_after): 1 s unless set.
    pub fn unready_after(self, unready_after: Duration) -> Self {
        Self { unready_after, ..self }
    }

    /// When it acts if the runtime that freezes is the one that answers it.
    ///
    /// With a period P, a time-out T up to P and F failures: between (F−1)·P + T and F·P + T. With
    /// a time-out above the period, probes follow each other by T: between F·T and F·T + P.
    #[must_use]
    pub fn own_runtime(&self) -> ProbeWindow {
        let between = self.period.max(self.timeout);
        let earliest = between.saturating_mul(self.failure_threshold - 1);
        self.window(earliest.saturating_add(self.timeout))
    }

    /// When a liveness probe on `/livez` acts: between `dead_after` + (F−1)·P and
    /// `dead_after` + F·P. It is answered at once, whatever the service does, so the time-out does
    /// not matter.
    #[must_use]
    pub fn livez(&self) -> ProbeWindow {
        self.answered(self.dead_after)
    }

    /// When a readiness probe on `/readyz` acts: between `unready_after` + (F−1)·P and
    /// `unready_after` + F·P.
    #[must_use]
    pub fn readyz(&self) -> ProbeWindow {
        self.answered(self.unready_after)
    }

    /// A probe that says no from `after` on.
    fn answered(&self, after: Duration) -> ProbeWindow {
        let rest = self.period.saturating_mul(self.failure_threshold - 1);
        self.window(after.saturating_add(rest))
    }

    fn window(&self, earliest: Duration) -> ProbeWindow {
        ProbeWindow { earliest, latest: earliest.saturating_add(self.period) }
    }
}

/// A probe as the kubelet does it if nothing is said, and the detector's own defaults.
impl Default for ProbePlan {
    fn default() -> Self {
        Self {
            period: Self::DEFAULT_PERIOD,
            timeout: Self::DEFAULT_TIMEOUT,
            failure_threshold: Self::DEFAULT_FAILURE_THRESHOLD,
            dead_after: Self::DEFAULT_DEAD_AFTER,
            unready_after: Self::DEFAULT_UNREADY_AFTER,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A kubelet that looks at the time in whole units, and a service that freezes.
    struct Kubelet {
        period: u32,
        timeout: u32,
        failures: u32,
    }

    /// Who answers the probe.
    #[derive(Clone, Copy)]
    enum Answer {
        /// The runtime that freezes: when it goes on it answers what waits.
        Frozen,
        /// The admin server: it says no from that time in the freeze on, until its end.
        Admin(u32),
    }

    impl Kubelet {
        /// When it acts on a freeze from `begin` to `end`, counted from `begin`.
        ///
        /// A transcript of the kubelet's loop: probe, then take a tick, which waits if there is none.
        fn acts(&self, answer: Answer, begin: u32, end: u32) -> Option<u32> {
            let (mut now, mut in_a_row) = (0, 0);
            // The last tick that was sent. The ticker was made at 0, at the first probe.
            let mut ticks = 0;
            while now <= end {
                let (failed, takes) = match answer {
                    Answer::Frozen if (begin..end).contains(&now) && end - now > self.timeout => {
                        (true, self.timeout)
                    }
                    Answer::Frozen if (begin..end).contains(&now) => (false, end - now),
                    Answer::Admin(after) => ((begin + after..end).contains(&now), 0),
                    Answer::Frozen => (false, 0),
                };
                now += takes;
                in_a_row = if failed { in_a_row + 1 } else { 0 };
                if in_a_row == self.failures {
                    return Some(now - begin);
                }
                let sent = now / self.period;
                if sent > ticks {
                    // One waits in the channel; the others were dropped.
                    ticks = sent;
                } else {
                    ticks += 1;
                    now = ticks * self.period;
                }
            }
            None
        }

        /// When it acts on a freeze of that length, for each phase of its ticker.
        fn phases(&self, answer: Answer, length: u32) -> Vec<Option<u32>> {
            let begins = 5 * self.period..6 * self.period;
            begins.map(|begin| self.acts(answer, begin, begin + length)).collect()
        }

        fn plan(&self) -> ProbePlan {
            ProbePlan::new(units(self.period), units(self.timeout), self.failures)
                .expect("none is zero")
        }

        /// The window is what all phases give together, and short freezes are survived.
        fn check(&self, answer: Answer, window: ProbeWindow) {
            let seconds = |time: Duration| time.as_secs() as u32;
            let (earliest, latest) = (seconds(window.earliest), seconds(window.latest));
            let endless = self.phases(answer, 100_000);
            let what = (self.period, self.timeout, self.failures);
            assert_eq!(endless.iter().flatten().min(), Some(&earliest), "{what:?}");
            // Begins are whole units, so the last one is one before the next tick.
            assert_eq!(endless.iter().flatten().max(), Some(&(latest - 1)), "{what:?}");
            let survives = |length| self.phases(answer, length).iter().all(Option::is_none);
            assert!(survives(earliest), "{what:?}");
            assert!(!survives(earliest + 1), "{what:?}");
            let acts = |length| self.phases(answer, length).iter().all(Option::is_some);
            assert!(acts(latest), "{what:?}");
            assert!(!acts(latest - 1), "{what:?}");
        }
    }

    fn units(units: u32) -> Duration {
        Duration::from_secs(units.into())
    }

    /// All small probes.
    fn kubelets() -> impl Iterator<Item = Kubelet> {
        (1..=7).flat_map(|period| {
            (1..=20).flat_map(move |timeout| {
                (1..=4).map(move |failures| Kubelet { period, timeout, failures })
            })
        })
    }

    #[test]
    fn on_its_own_runtime_it_acts_when_a_kubelet_does() {
        for kubelet in kubelets() {
            kubelet.check(Answer::Frozen, kubelet.plan().own_runtime());
        }
    }

    #[test]
    fn on_the_admin_port_it_acts_when_a_kubelet_does() {
        for kubelet in kubelets() {
            for after in [0, 1, 6, 13] {
                let plan = kubelet.plan().dead_after(units(after)).unready_after(units(after));
                kubelet.check(Answer::Admin(after), plan.livez());
                assert_eq!(plan.livez(), plan.readyz());
            }
        }
    }

    #[test]
    fn a_kubelet_does_not_take_zeros() {
        let second = Duration::from_secs(1);
        let zero = Duration::ZERO;
        assert_eq!(ProbePlan::new(zero, second, 1), Err(ProbePlanError::PeriodZero));
        assert_eq!(ProbePlan::new(second, zero, 1), Err(ProbePlanError::TimeoutZero));
        assert_eq!(ProbePlan::new(second, second, 0), Err(ProbePlanError::FailureThresholdZero));
    }

    #[test]
    fn what_is_too_long_is_as_long_as_can_be() {
        let plan = ProbePlan::new(Duration::MAX, Duration::MAX, u32::MAX).expect("none is zero");
        for window in [plan.own_runtime(), plan.livez()] {
            assert_eq!(window, ProbeWindow { earliest: Duration::MAX, latest: Duration::MAX });
        }
    }
}
