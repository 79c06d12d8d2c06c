//! Whether a runtime can serve, has to be restarted, or should turn requests away: the rules, as
//! pure functions of its freezes.
//!
//! A freeze counts less the time in which the environment kept the process from running.

use crate::clock::Nanos;
use crate::runtime::status::RuntimeHealth;

/// A task that is to answer before a runtime is dead has this long.
const ANSWER: Nanos = 1_000_000_000;

/// For how long a freeze is borne.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) dead_after: Nanos,
    pub(crate) unready_after: Nanos,
    /// For how long there must be no freeze before the runtime is ready again.
    pub(crate) ready_after: Nanos,
    pub(crate) shed_after: Nanos,
}

/// What is known of one runtime.
#[derive(Debug, Default)]
pub(in crate::watchdog) struct HealthTracker {
    last: Nanos,
    /// The environment's time of the freeze there is, or of what may become one.
    environment: Nanos,
    is_frozen: bool,
    /// When the last freeze was over.
    thawed: Nanos,
    unready: bool,
    dead: bool,
    sheds: bool,
    asked: Option<Asked>,
}

/// A task was started that is to answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    frozen: Nanos,
    answers: u64,
}

/// A runtime as it looks now.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::watchdog) struct HealthInput {
    pub(in crate::watchdog) frozen_since: Option<Nanos>,
    /// A tick should have come by now.
    pub(in crate::watchdog) overdue: bool,
    /// The environment's time, since the last look.
    pub(in crate::watchdog) environment: Nanos,
    /// Workers are held up by the environment, and none by the program.
    pub(in crate::watchdog) excused: bool,
    /// How late the last tick was that came.
    pub(in crate::watchdog) lag: Nanos,
    /// How many tasks have answered so far.
    pub(in crate::watchdog) answers: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::watchdog) enum HealthAction {
    Nothing,
    /// Start a task that answers.
    Ask,
    /// Say that only a restart helps.
    Die,
}

impl HealthTracker {
    pub(in crate::watchdog) fn update(
        &mut self,
        now: Nanos,
        input: HealthInput,
        patience: Patience,
    ) -> (RuntimeHealth, HealthAction) {
        let (mut frozen, mut act) = (0, HealthAction::Nothing);
        match input.frozen_since {
            None => self.is_well(now, input, patience),
            Some(since) => {
                frozen = self.frozen(now, since, input);
                self.unready |= frozen >= patience.unready_after;
                self.sheds |= frozen >= patience.shed_after;
                act = self.dies(frozen, input.answers, patience.dead_after);
            }
        }
        self.is_frozen = input.frozen_since.is_some();
        self.last = now;
        (RuntimeHealth { frozen, unready: self.unready, dead: self.dead, sheds: self.sheds }, act)
    }

    fn is_well(&mut self, now: Nanos, input: HealthInput, patience: Patience) {
        if self.is_frozen {
            self.thawed = now;
        }
        self.environment = if input.overdue { self.environment + input.environment } else { 0 };
        (self.dead, self.asked) = (false, None);
        self.unready &= now.saturating_sub(self.thawed) < patience.ready_after;
        // The tick that ends a freeze is as late as the freeze was long: only the next one tells.
        self.sheds &= input.lag >= patience.shed_after / 2;
    }

    /// How long it is frozen, at least 1.
    fn frozen(&mut self, now: Nanos, since: Nanos, input: HealthInput) -> Nanos {
        self.environment = match (input.excused, self.is_frozen) {
            (false, _) => self.environment + input.environment,
            (true, true) => self.environment + now.saturating_sub(self.last),
            (true, false) => now.saturating_sub(since),
        };
        now.saturating_sub(since).saturating_sub(self.environment).max(1)
    }

    fn dies(&mut self, frozen: Nanos, answers: u64, dead_after: Nanos) -> HealthAction {
        let wait = ANSWER.min(dead_after / 2);
        let Some(asked) = self.asked else {
            if frozen + wait < dead_after {
                return HealthAction::Nothing;
            }
            self.asked = Some(Asked { frozen, answers });
            return HealthAction::Ask;
        };
        let waited = frozen.saturating_sub(asked.frozen) >= wait;
        if answers > asked.answers {
            // It runs tasks: timers or sockets are held up, not the runtime.
            self.dead = false;
            if waited {
                self.asked = Some(Asked { frozen, answers });
                return HealthAction::Ask;
            }
        } else if waited && frozen >= dead_after && !self.dead {
            self.dead = true;
            return HealthAction::Die;
        }
        HealthAction::Nothing
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
        assert!(update(&mut health, 5000 * MS, again).unready, "a short one begins the wait anew");
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
        assert_eq!(act(59_000 * MS, 4), (false, HealthAction::Ask));
        assert_eq!(act(59_500 * MS, 5), (false, HealthAction::Nothing), "it has run");
        assert_eq!(act(60_000 * MS, 5), (false, HealthAction::Ask), "and is asked again");
        assert_eq!(act(60_500 * MS, 5), (false, HealthAction::Nothing));
        assert_eq!(act(61_000 * MS, 5), (true, HealthAction::Die));
        assert_eq!(act(90_000 * MS, 5), (true, HealthAction::Nothing), "said once");
        assert_eq!(act(90_025 * MS, 6), (false, HealthAction::Ask), "it has run after all");
        assert!(!update(&mut health, 90_100 * MS, WELL).dead);
    }

    #[test]
    fn a_short_patience_halves_the_wait_for_an_answer() {
        let patience = Patience { dead_after: 600 * MS, ..PATIENCE };
        let mut health = HealthTracker::default();
        let acts = (1..=6).map(|tenth| health.update(tenth * 100 * MS, FROZEN, patience).1);
        let acts: Vec<_> = acts.collect();
        let (nothing, ask, die) = (HealthAction::Nothing, HealthAction::Ask, HealthAction::Die);
        assert_eq!(acts, [nothing, nothing, ask, nothing, nothing, die]);
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
