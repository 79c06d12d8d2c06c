//! When a runtime needs a nudge: the rules, as pure functions of what was seen.
//!
//! The worker that waits on the runtime's I/O driver and timers leaves them when it gets work, and
//! wakes another worker to take them over only if there is more work than one task. If that task
//! then blocks, all timers and sockets stand still, though other workers are parked (tokio#4730).
//! Any task from outside wakes one of them, which finds the driver free.

use crate::clock::Nanos;

/// A tick is overdue when it is that many ticks late.
const TICKS: Nanos = 2;

/// What is known of one runtime.
#[derive(Debug, Default)]
pub(in crate::watchdog) struct Rescuer {
    /// Not again before then.
    rest_until: Nanos,
    /// It was told of this stall.
    told: bool,
    /// What the watchdog had lost when the tick was not overdue last.
    lost: Nanos,
}

/// A runtime as it looks now.
#[derive(Clone, Copy, Debug)]
pub(in crate::watchdog) struct DriverState {
    /// When the awaited tick should wake; `None` where nothing ticks.
    pub(in crate::watchdog) due: Option<Nanos>,
    pub(in crate::watchdog) tick: Nanos,
    /// For how long the watchdog could not run itself, since it began.
    pub(in crate::watchdog) lost: Nanos,
    pub(in crate::watchdog) parked: bool,
    /// A worker has not come round for a tick or longer, and is not parked.
    pub(in crate::watchdog) held: bool,
}

impl Rescuer {
    /// Whether to start a task now, and then whether it is the first for this stall.
    pub(in crate::watchdog) fn update(&mut self, now: Nanos, driver: DriverState) -> Option<bool> {
        self.told &= driver.held;
        let wait = TICKS * driver.tick;
        let Some(due) = driver.due.filter(|due| now > *due) else {
            self.lost = driver.lost;
            return None;
        };
        let late = (now - due).saturating_sub(driver.lost - self.lost);
        if late < wait || !driver.parked || !driver.held || now < self.rest_until {
            return None;
        }
        self.rest_until = now + wait;
        Some(!std::mem::replace(&mut self.told, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRIVER: DriverState =
        DriverState { due: Some(1000), tick: 25, lost: 0, parked: true, held: true };

    #[test]
    fn a_tick_overdue_by_two_and_a_parked_worker_want_a_task_and_count_once() {
        let mut rescuer = Rescuer::default();
        assert_eq!(rescuer.update(1049, DRIVER), None);
        assert_eq!(rescuer.update(1050, DRIVER), Some(true));
        assert_eq!(rescuer.update(1075, DRIVER), None, "the first has its time");
        assert_eq!(rescuer.update(1100, DRIVER), Some(false));
        let again = DriverState { due: Some(1200), ..DRIVER };
        assert_eq!(rescuer.update(1250, again), Some(false), "the same worker is still held");
        assert_eq!(rescuer.update(1300, DriverState { held: false, ..again }), None);
        assert_eq!(rescuer.update(1400, again), Some(true), "another stall");
    }

    #[test]
    fn nothing_is_done_where_it_would_not_help() {
        for driver in [
            DriverState { due: None, ..DRIVER },
            DriverState { parked: false, ..DRIVER },
            DriverState { held: false, ..DRIVER },
            DriverState { lost: 4000, ..DRIVER },
        ] {
            assert_eq!(Rescuer::default().update(5000, driver), None, "{driver:?}");
        }
    }
}
