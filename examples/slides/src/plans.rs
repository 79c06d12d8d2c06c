//! The four pods of experiment 3: what each runs on, what is probed, and what it is told.

use std::time::Duration;

use crate::container::{Container, Spec};
use crate::probe::Kind;
use crate::report::{Pod, rounded};
use crate::scale::Scale;
use crate::service::Flavor;

/// What the probes ask. Both have the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// A route of the service, on its own runtime.
    Service,
    /// The detector's admin server.
    Admin,
}

/// One pod and what is done to it. Times are those of the story, in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) experiment: &'static str,
    pub(crate) spec: Spec,
    target: Target,
    /// `None`: it never ends.
    block: Option<f64>,
    dead_after: f64,
}

impl Plan {
    /// A pod's `terminationGracePeriodSeconds`, unless set.
    pub(crate) const GRACE: f64 = 30.0;
    /// The detector's defaults.
    const DEAD_AFTER: f64 = 60.0;
    const UNREADY_AFTER: f64 = 1.0;
    const READY_AFTER: f64 = 2.0;
    const BLOCK: f64 = 120.0;

    pub(crate) fn all(scale: Scale) -> Vec<Self> {
        use Flavor::{CurrentThread, MultiThread};
        let plan = |experiment, flavor, target, block, dead_after| Self {
            experiment,
            spec: Spec {
                flavor,
                env: vec![
                    ("TOWER_STALL_DEAD_AFTER", scale.seconds(dead_after)),
                    ("TOWER_STALL_UNREADY_AFTER", scale.seconds(Self::UNREADY_AFTER)),
                    ("TOWER_STALL_READY_AFTER", scale.seconds(Self::READY_AFTER)),
                ],
            },
            target,
            block,
            dead_after,
        };
        vec![
            plan("3a", CurrentThread, Target::Service, Some(Self::BLOCK), Self::DEAD_AFTER),
            plan("3b", CurrentThread, Target::Admin, Some(Self::BLOCK), Self::BLOCK * 1.5),
            plan("3c", MultiThread, Target::Admin, Some(Self::BLOCK), Self::DEAD_AFTER),
            plan("3d", CurrentThread, Target::Admin, None, Self::DEAD_AFTER),
        ]
    }

    /// About how long it takes.
    pub(crate) fn expected(&self, scale: Scale) -> Duration {
        let probe = scale.probe();
        let starts = probe.initial_delay + probe.period;
        let restarts = probe.period * 2 + scale.seconds(Self::GRACE) + starts;
        starts
            + match (self.target, self.block) {
                (Target::Service, _) => probe.timeout + restarts,
                (Target::Admin, None) => scale.seconds(self.dead_after) + restarts,
                (Target::Admin, Some(block)) => {
                    scale.seconds(block) + probe.period * 3 + self.ready_after(scale)
                }
            }
    }

    pub(crate) fn ready_after(&self, scale: Scale) -> Duration {
        scale.seconds(Self::READY_AFTER)
    }

    /// What is asked for to block it.
    pub(crate) fn call(&self, scale: Scale) -> String {
        match self.block {
            Some(block) => format!("/hello?ms={}", scale.seconds(block).as_millis()),
            None => "/deadlock".into(),
        }
    }

    /// The label of the handler that blocks.
    pub(crate) fn handler(&self) -> &'static str {
        match self.block {
            Some(_) => "GET /hello",
            None => "GET /deadlock",
        }
    }

    pub(crate) fn url(&self, kind: Kind, container: &Container) -> String {
        match (self.target, kind) {
            (Target::Service, _) => format!("{}/healthcheck", container.service),
            (Target::Admin, Kind::Liveness) => format!("{}/livez", container.admin),
            (Target::Admin, Kind::Readiness) => format!("{}/readyz", container.admin),
        }
    }

    /// Whether the body of an answer to the liveness probe is one to report.
    pub(crate) fn reads_body(&self, text: &str) -> bool {
        self.target == Target::Admin && (text.starts_with("degraded") || text.starts_with("dead"))
    }

    /// When the documentation says that it is restarted.
    fn documented(&self, scale: Scale) -> Option<[f64; 2]> {
        let probe = scale.probe();
        let failures = |number: u32| probe.period * number;
        let first = match (self.target, self.block) {
            (Target::Service, _) => probe.timeout,
            (Target::Admin, None) => scale.seconds(self.dead_after),
            (Target::Admin, Some(_)) => return None,
        };
        let range = [probe.failure_threshold - 1, probe.failure_threshold];
        Some(range.map(|number| rounded((first + failures(number)).as_secs_f64())))
    }

    /// The report before anything has happened.
    pub(crate) fn nothing_found(&self, scale: Scale) -> Pod {
        Pod {
            experiment: self.experiment,
            runtime: self.spec.flavor,
            probes: match self.target {
                Target::Service => ["/healthcheck", "/healthcheck"],
                Target::Admin => ["/livez", "/readyz"],
            },
            block_seconds: self.block.map(|block| rounded(scale.seconds(block).as_secs_f64())),
            dead_after_seconds: rounded(scale.seconds(self.dead_after).as_secs_f64()),
            documented_seconds: self.documented(scale),
            restarts: 0,
            restarted_after_seconds: None,
            ended_after_seconds: None,
            ended_by: None,
            out_of_rotation_after_seconds: None,
            back_in_rotation_after_seconds: None,
            in_rotation_at_end: false,
            told: None,
            site: None,
            stacks_timed_out: 0,
            livez: None,
            last_log_line: None,
        }
    }
}
