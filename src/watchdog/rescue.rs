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
pub(super) struct Rescuer {
    /// Not again before then.
    rest_until: Nanos,
    /// It was told of this stall.
    told: bool,
    /// What the watchdog had lost when the tick was not overdue last.
    lost: Nanos,
}

/// A runtime as it looks now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plight {
    /// When the awaited tick should wake; `None` where nothing ticks.
    pub(super) due: Option<Nanos>,
    pub(super) tick: Nanos,
    /// For how long the watchdog could not run itself, since it began.
    pub(super) lost: Nanos,
    pub(super) parked: bool,
    /// A worker has not come round for a tick or longer, and is not parked.
    pub(super) held: bool,
}

impl Rescuer {
    /// Whether to start a task now, and then whether it is the first for this stall.
    pub(super) fn look(&mut self, now: Nanos, plight: Plight) -> Option<bool> {
        self.told &= plight.held;
        let wait = TICKS * plight.tick;
        let Some(due) = plight.due.filter(|due| now > *due) else {
            self.lost = plight.lost;
            return None;
        };
        let late = (now - due).saturating_sub(plight.lost - self.lost);
        if late < wait || !plight.parked || !plight.held || now < self.rest_until {
            return None;
        }
        self.rest_until = now + wait;
        Some(!std::mem::replace(&mut self.told, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLIGHT: Plight = Plight { due: Some(1000), tick: 25, lost: 0, parked: true, held: true };

    #[test]
    fn a_tick_overdue_by_two_and_a_parked_worker_want_a_task_and_count_once() {
        let mut rescuer = Rescuer::default();
        assert_eq!(rescuer.look(1049, PLIGHT), None);
        assert_eq!(rescuer.look(1050, PLIGHT), Some(true));
        assert_eq!(rescuer.look(1075, PLIGHT), None, "the first has its time");
        assert_eq!(rescuer.look(1100, PLIGHT), Some(false));
        let again = Plight { due: Some(1200), ..PLIGHT };
        assert_eq!(rescuer.look(1250, again), Some(false), "the same worker is still held");
        assert_eq!(rescuer.look(1300, Plight { held: false, ..again }), None);
        assert_eq!(rescuer.look(1400, again), Some(true), "another stall");
    }

    #[test]
    fn nothing_is_done_where_it_would_not_help() {
        for plight in [
            Plight { due: None, ..PLIGHT },
            Plight { parked: false, ..PLIGHT },
            Plight { held: false, ..PLIGHT },
            Plight { lost: 4000, ..PLIGHT },
        ] {
            assert_eq!(Rescuer::default().look(5000, plight), None, "{plight:?}");
        }
    }
}
