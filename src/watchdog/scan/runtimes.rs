//! The runtimes at a scan: their pulse, freezes, health, and the nudge they may need.

use std::sync::Arc;

use super::Scanner;
use crate::clock::Nanos;
use crate::runtime::heartbeat::TickState;
use crate::stall::Cause;
use crate::stall::LiveStall;
use crate::watchdog::rules::health::{HealthAction, HealthInput};
use crate::watchdog::rules::rescue::DriverState;

impl Scanner {
    pub(super) fn look_at_runtimes(&mut self, now: Nanos) {
        let (tick, threshold) = (self.tick, self.registry.threshold);
        let environment = self.environment.cause_of(now.saturating_sub(self.last_scan));
        for watched in &mut self.runtimes {
            let name = watched.runtime.name;
            let pulse = &watched.runtime.heartbeat;
            if pulse.state() == TickState::Waiting && now >= pulse.due() {
                pulse.nudge();
            }
            let observer = &mut *self.observer;
            let trend = &watched.runtime.lag_history;
            let last_lag = &mut watched.last_lag;
            let lost = pulse.lags(&mut watched.lags_seen, |lag| {
                *last_lag = lag;
                trend.note(now, lag);
                observer.lag(name, lag);
            });
            if lost > 0 {
                observer.lags_lost(lost);
            }
            let input = watched.freeze_input(tick, threshold);
            for lag in watched.freeze.missing(now, input) {
                watched.runtime.lag_history.note(now, lag);
                observer.lag(name, lag);
            }
            let frozen = watched.freeze.frozen(now, input);
            if frozen > 0 {
                let cause = watched.tally.cause.or(environment).unwrap_or(Cause::Unknown);
                observer.frozen(name, cause, frozen);
            }
        }
        for at in 0..self.runtimes.len() {
            self.look_after(at, now);
        }
    }

    /// What a freeze means for the runtime's health, and what helps.
    fn look_after(&mut self, at: usize, now: Nanos) {
        let time = now.saturating_sub(self.last_scan);
        let watched = &mut self.runtimes[at];
        let due = watched.freeze_input(self.tick, self.registry.threshold).due;
        let frozen_since = watched.freeze.since();
        // Not for every tick that is a little late.
        let asks = frozen_since.is_some() || due.is_some_and(|due| now > due + self.tick);
        let waited = watched.waited_for_a_cpu(time, asks);
        let vitals = &watched.runtime.status;
        let input = HealthInput {
            frozen_since,
            overdue: due.is_some_and(|due| now > due),
            environment: self.environment.lost_since_last().max(waited).min(time),
            excused: watched.tally.excused && watched.tally.cause.is_none(),
            lag: watched.last_lag,
            answers: vitals.answers(),
        };
        let (found, act) = watched.health.update(now, input, self.guardian.patience);
        vitals.set(found);
        if self.guardian.rescues && !watched.runtime.single {
            let driver = DriverState {
                due,
                tick: self.tick,
                lost: self.environment.lost(),
                parked: watched.has_parked(),
                held: watched.has_held(now, self.tick),
            };
            if let Some(first) = watched.rescuer.update(now, driver) {
                self.observer.rescue(&watched.runtime, first);
            }
        }
        let runtime = Arc::clone(&watched.runtime);
        match act {
            _ if runtime.status.is_ignored() => {}
            HealthAction::Nothing => {}
            HealthAction::Ask => self.observer.ask(&runtime),
            HealthAction::Die => {
                let stall = self.oldest_stall(runtime.index);
                self.observer.dead(&runtime, found.frozen, stall.as_ref());
            }
        }
    }

    /// The longest stall in progress of a runtime.
    fn oldest_stall(&self, runtime: u32) -> Option<Arc<LiveStall>> {
        let of_slots = self.slots.iter().map(|watched| &watched.stall);
        let workers = self.runtimes.iter().flat_map(|watched| &watched.workers);
        let of_workers = workers.map(|worker| &worker.unattributed.stall);
        let open = of_slots.chain(of_workers).flatten();
        let blamed = open.filter(|stall| {
            stall.victims.runtime == runtime && !stall.entry.cause().is_environment()
        });
        blamed.max_by_key(|stall| stall.entry.lasted()).map(|stall| Arc::clone(&stall.entry))
    }
}
