//! When to wake a parked worker so that timers and sockets of the runtime go on.
//!
//! One worker waits on the runtime's I/O and time drivers. When it gets a task to run, it wakes
//! another worker to take over the drivers only if there are more tasks. If that task blocks, no
//! timer fires and no socket is polled, although other workers are parked (tokio#4730). Spawning any
//! task from outside the runtime wakes one of them, which takes over the drivers.

use crate::clock::Nanos;

/// A tick is overdue when it is late by this many tick intervals.
const TICKS: Nanos = 2;

/// What is known of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Rescuer {
    /// The earliest time of the next attempt.
    next_at: Nanos,
    /// The current stall was rescued at least once.
    rescued: bool,
    /// The watchdog's lost time when the tick was last not overdue.
    lost: Nanos,
}

/// What this scan has read of the runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DriverState {
    /// When the awaited tick should wake; `None` where nothing ticks.
    pub(crate) due: Option<Nanos>,
    pub(crate) tick: Nanos,
    /// How long the watchdog itself could not run, since its start.
    pub(crate) lost: Nanos,
    pub(crate) parked: bool,
    /// A worker is not parked and has made no progress for at least one tick interval.
    pub(crate) held: bool,
}

impl Rescuer {
    /// `None` if no task has to be spawned now; otherwise whether it is the first for this stall.
    pub(crate) fn update(&mut self, now: Nanos, driver: DriverState) -> Option<bool> {
        self.rescued &= driver.held;
        let wait = TICKS * driver.tick;
        let Some(due) = driver.due.filter(|due| now > *due) else {
            self.lost = driver.lost;
            return None;
        };
        let late = (now - due).saturating_sub(driver.lost - self.lost);
        if late < wait || !driver.parked || !driver.held || now < self.next_at {
            return None;
        }
        self.next_at = now + wait;
        Some(!std::mem::replace(&mut self.rescued, true))
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
