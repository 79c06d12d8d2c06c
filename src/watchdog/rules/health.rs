//! Whether a runtime is ready, dead, or should shed load, judged by its freezes.
//!
//! Time in which the environment kept the process from running is subtracted from a freeze.

use crate::clock::Nanos;
use crate::runtime::status::RuntimeHealth;

/// How long a runtime has to poll the task of a ping before it counts as dead.
const PING_TIMEOUT: Nanos = 1_000_000_000;

/// How long a freeze may last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) dead_after: Nanos,
    pub(crate) unready_after: Nanos,
    /// How long there must be no freeze before the runtime is ready again.
    pub(crate) ready_after: Nanos,
    pub(crate) shed_after: Nanos,
}

/// What is known of one runtime.
#[derive(Debug, Default)]
pub(crate) struct HealthTracker {
    last: Nanos,
    /// The environment's share of the current freeze, or of an overdue tick that may become one.
    environment: Nanos,
    /// When the last freeze ended.
    thawed: Nanos,
    /// The result of the last update.
    health: RuntimeHealth,
    ping: Option<Ping>,
}

/// The state when a ping was sent.
#[derive(Clone, Copy, Debug)]
struct Ping {
    frozen: Nanos,
    answers: u64,
}

/// What this scan has read of the runtime.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HealthInput {
    pub(crate) frozen_since: Option<Nanos>,
    /// The awaited tick is late.
    pub(crate) overdue: bool,
    /// Time that the environment took since the last update.
    pub(crate) environment: Nanos,
    /// The environment holds up workers, and the program none.
    pub(crate) excused: bool,
    /// How late the last tick woke.
    pub(crate) lag: Nanos,
    /// How many pings were answered so far.
    pub(crate) answers: u64,
}

/// What the watchdog has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthAction {
    Nothing,
    /// Spawn a task that shows whether the runtime still polls tasks.
    Ping,
    /// Report that the runtime is dead, frozen for this long.
    ReportDead {
        frozen: Nanos,
    },
}

impl HealthTracker {
    pub(crate) fn update(
        &mut self,
        now: Nanos,
        input: HealthInput,
        patience: Patience,
    ) -> (RuntimeHealth, HealthAction) {
        let action = match input.frozen_since {
            Some(since) => self.freeze(now, since, input, patience),
            None => self.thaw(now, input, patience),
        };
        self.last = now;
        (self.health, action)
    }

    /// Whether the runtime is unready or turns requests away, which ends with time.
    pub(crate) fn is_recovering(&self) -> bool {
        self.health.unready || self.health.sheds
    }

    fn thaw(&mut self, now: Nanos, input: HealthInput, patience: Patience) -> HealthAction {
        let health = &mut self.health;
        if health.frozen > 0 {
            self.thawed = now;
        }
        self.environment = if input.overdue { self.environment + input.environment } else { 0 };
        (health.frozen, health.dead, self.ping) = (0, false, None);
        health.unready &= now.saturating_sub(self.thawed) < patience.ready_after;
        // The tick that ends a freeze is as late as the freeze was long: wait for the next one.
        health.sheds &= input.lag >= patience.shed_after / 2;
        HealthAction::Nothing
    }

    fn freeze(
        &mut self,
        now: Nanos,
        since: Nanos,
        input: HealthInput,
        patience: Patience,
    ) -> HealthAction {
        let lasted = now.saturating_sub(since);
        self.environment = match (input.excused, self.health.frozen > 0) {
            (false, _) => self.environment + input.environment,
            (true, true) => self.environment + now.saturating_sub(self.last),
            (true, false) => lasted,
        };
        // At least 1: 0 means that it is not frozen.
        let frozen = lasted.saturating_sub(self.environment).max(1);
        self.health.frozen = frozen;
        self.health.unready |= frozen >= patience.unready_after;
        self.health.sheds |= frozen >= patience.shed_after;
        self.check_alive(frozen, input.answers, patience.dead_after)
    }

    /// Sends pings to a runtime that is frozen for nearly `dead_after`. It is dead if it answers none.
    fn check_alive(&mut self, frozen: Nanos, answers: u64, dead_after: Nanos) -> HealthAction {
        let timeout = PING_TIMEOUT.min(dead_after / 2);
        let timed_out = |ping: Ping| frozen.saturating_sub(ping.frozen) >= timeout;
        match self.ping {
            Some(ping) if answers > ping.answers => {
                // It polls tasks: timers or sockets are held up, not the runtime.
                self.health.dead = false;
                if !timed_out(ping) {
                    return HealthAction::Nothing;
                }
            }
            Some(ping) if timed_out(ping) && frozen >= dead_after && !self.health.dead => {
                self.health.dead = true;
                return HealthAction::ReportDead { frozen };
            }
            None if frozen + timeout >= dead_after => {}
            _ => return HealthAction::Nothing,
        }
        self.ping = Some(Ping { frozen, answers });
        HealthAction::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;
    const SECOND: Nanos = 1000 * MS;
    const PATIENCE: Patience = Patience {
        dead_after: 60 * SECOND,
        unready_after: SECOND,
        ready_after: 2 * SECOND,
        shed_after: 500 * MS,
    };

    /// Frozen since 0.
    const FROZEN: HealthInput = HealthInput {
        frozen_since: Some(0),
        overdue: true,
        environment: 0,
        excused: false,
        lag: 0,
        answers: 0,
    };
    const WELL: HealthInput = HealthInput { frozen_since: None, overdue: false, ..FROZEN };

    fn update(health: &mut HealthTracker, now: Nanos, input: HealthInput) -> RuntimeHealth {
        health.update(now, input, PATIENCE).0
    }

    #[test]
    fn a_short_freeze_changes_nothing() {
        let mut health = HealthTracker::default();
        let found = update(&mut health, 150 * MS, FROZEN);
        assert_eq!(found, RuntimeHealth { frozen: 150 * MS, ..RuntimeHealth::default() });
        assert_eq!(update(&mut health, 151 * MS, WELL), RuntimeHealth::default());
    }

    #[test]
    fn a_long_one_takes_readiness_until_it_was_well_for_long_enough() {
        let mut health = HealthTracker::default();
        assert!(!update(&mut health, 999 * MS, FROZEN).unready);
        assert!(update(&mut health, 1000 * MS, FROZEN).unready);
        assert!(update(&mut health, 3000 * MS, WELL).unready);
        assert!(update(&mut health, 4999 * MS, WELL).unready);
        let again = HealthInput { frozen_since: Some(4900 * MS), ..FROZEN };
        assert!(update(&mut health, 5000 * MS, again).unready, "a short one restarts the wait");
        assert!(update(&mut health, 5100 * MS, WELL).unready);
        assert!(update(&mut health, 7099 * MS, WELL).unready);
        assert!(!update(&mut health, 7100 * MS, WELL).unready);
    }

    #[test]
    fn only_a_runtime_that_runs_no_task_is_dead() {
        let mut health = HealthTracker::default();
        let mut act = |now, answers| {
            let (found, act) = health.update(now, HealthInput { answers, ..FROZEN }, PATIENCE);
            (found.dead, act)
        };
        assert_eq!(act(58_999 * MS, 4), (false, HealthAction::Nothing));
        assert_eq!(act(59_000 * MS, 4), (false, HealthAction::Ping));
        assert_eq!(act(59_500 * MS, 5), (false, HealthAction::Nothing), "it has run");
        assert_eq!(act(60_000 * MS, 5), (false, HealthAction::Ping), "and is pinged again");
        assert_eq!(act(60_500 * MS, 5), (false, HealthAction::Nothing));
        assert_eq!(act(61_000 * MS, 5), (true, HealthAction::ReportDead { frozen: 61_000 * MS }));
        assert_eq!(act(90_000 * MS, 5), (true, HealthAction::Nothing), "said once");
        assert_eq!(act(90_025 * MS, 6), (false, HealthAction::Ping), "it has run after all");
        assert!(!update(&mut health, 90_100 * MS, WELL).dead);
    }

    #[test]
    fn a_short_patience_shortens_the_timeout_of_a_ping() {
        let patience = Patience { dead_after: 600 * MS, ..PATIENCE };
        let mut health = HealthTracker::default();
        let acts = (1..=6).map(|tenth| health.update(tenth * 100 * MS, FROZEN, patience).1);
        let acts: Vec<_> = acts.collect();
        let (nothing, ping) = (HealthAction::Nothing, HealthAction::Ping);
        let dead = HealthAction::ReportDead { frozen: 600 * MS };
        assert_eq!(acts, [nothing, nothing, ping, nothing, nothing, dead]);
    }

    #[test]
    fn time_of_the_environment_does_not_count() {
        let mut health = HealthTracker::default();
        update(&mut health, 50 * MS, HealthInput { environment: 700 * MS, ..WELL });
        let since = HealthInput { frozen_since: Some(100 * MS), ..FROZEN };
        // Stopped for 80 s.
        let stopped = HealthInput { environment: 80_000 * MS, ..since };
        let found = update(&mut health, 80_200 * MS, stopped);
        assert_eq!((found.frozen, found.unready, found.dead), (100 * MS, false, false));
        let later = update(&mut health, 81_100 * MS, since);
        assert_eq!((later.frozen, later.unready), (1000 * MS, true), "the rest is its own");
    }

    #[test]
    fn what_was_lost_before_it_is_a_freeze_belongs_to_it() {
        let mut health = HealthTracker::default();
        let overdue = HealthInput { overdue: true, environment: 40 * MS, ..WELL };
        for now in [50 * MS, 100 * MS] {
            update(&mut health, now, overdue);
        }
        let found = update(&mut health, 150 * MS, HealthInput { environment: 30 * MS, ..FROZEN });
        assert_eq!(found.frozen, 40 * MS);
    }

    #[test]
    fn what_holds_up_the_workers_may_be_the_environment_though_the_watchdog_runs() {
        let mut health = HealthTracker::default();
        let starved = HealthInput { excused: true, ..FROZEN };
        for now in 1..=100 {
            let found = update(&mut health, now * SECOND, starved);
            assert_eq!(found, RuntimeHealth { frozen: 1, ..RuntimeHealth::default() });
        }
        assert!(!update(&mut health, 100_900 * MS, FROZEN).unready);
        assert!(update(&mut health, 101_000 * MS, FROZEN).unready, "from then on it is a handler");
    }

    #[test]
    fn shedding_ends_with_the_first_tick_in_time() {
        let mut health = HealthTracker::default();
        assert!(!update(&mut health, 499 * MS, FROZEN).sheds);
        assert!(update(&mut health, 500 * MS, FROZEN).sheds);
        assert!(update(&mut health, 900 * MS, HealthInput { lag: 880 * MS, ..WELL }).sheds);
        assert!(update(&mut health, 925 * MS, HealthInput { lag: 250 * MS, ..WELL }).sheds);
        assert!(!update(&mut health, 950 * MS, HealthInput { lag: 249 * MS, ..WELL }).sheds);
        assert!(
            !update(&mut health, 950 * MS, HealthInput { lag: 900 * MS, ..WELL }).sheds,
            "no freeze"
        );
    }
}
