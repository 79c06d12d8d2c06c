//! When the service is idle, so that ticks and scans slow down.
//!
//! ```text
//!   Busy ── quiet for a second ──► Armed ── quiet at the next scan ──► Idle
//!    ▲                               │                                  │
//!    └───── not quiet, or woken ─────┴──────────────────────────────────┘
//! ```
//!
//! `Armed` has the usual pace. A thread that reads the flags of its slot just before they ask for a
//! wake-up enters its poll within the next scan interval, unless it loses its CPU between the two: that
//! poll is seen at the next slow scan.

use crate::clock::Nanos;

/// How long all has to be quiet.
const QUIET: Nanos = 1_000_000_000;

/// What is known of the whole service.
#[derive(Debug)]
pub(crate) enum IdleTracker {
    Busy {
        /// `None` if it was not quiet at the last scan.
        quiet_since: Option<Nanos>,
    },
    Armed,
    Idle,
}

/// What the watchdog has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdleStep {
    Nothing,
    /// Ask for a wake-up at the next poll.
    Arm,
    /// Slow ticks and scans down.
    SlowDown,
    /// Take the wish for a wake-up back.
    Disarm,
    /// The same, and bring ticks and scans back to their usual pace.
    SpeedUp,
}

impl IdleTracker {
    /// A scan found all `quiet` or not.
    pub(crate) fn update(&mut self, now: Nanos, quiet: bool) -> IdleStep {
        let (next, step) = match self {
            Self::Busy { quiet_since } => {
                let since = quiet.then(|| quiet_since.unwrap_or(now));
                if since.is_some_and(|since| now - since >= QUIET) {
                    (Self::Armed, IdleStep::Arm)
                } else {
                    (Self::Busy { quiet_since: since }, IdleStep::Nothing)
                }
            }
            Self::Armed if quiet => (Self::Idle, IdleStep::SlowDown),
            Self::Idle if quiet => (Self::Idle, IdleStep::Nothing),
            Self::Armed => (Self::Busy { quiet_since: None }, IdleStep::Disarm),
            Self::Idle => (Self::Busy { quiet_since: None }, IdleStep::SpeedUp),
        };
        *self = next;
        step
    }

    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }
}

impl Default for IdleTracker {
    fn default() -> Self {
        Self::Busy { quiet_since: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_second_of_quiet_and_one_scan_more_make_it_idle() {
        let mut idle = IdleTracker::default();
        assert_eq!(idle.update(5, true), IdleStep::Nothing);
        assert_eq!(idle.update(SECOND, true), IdleStep::Nothing);
        assert_eq!(idle.update(SECOND + 5, true), IdleStep::Arm);
        assert!(!idle.is_idle());
        assert_eq!(idle.update(SECOND + 30, true), IdleStep::SlowDown);
        assert!(idle.is_idle());
        assert_eq!(idle.update(9 * SECOND, true), IdleStep::Nothing);
        assert_eq!(idle.update(10 * SECOND, false), IdleStep::SpeedUp);
        assert!(!idle.is_idle());
    }

    #[test]
    fn any_stir_starts_the_second_again() {
        let mut idle = IdleTracker::default();
        idle.update(0, true);
        assert_eq!(idle.update(SECOND - 1, false), IdleStep::Nothing);
        assert_eq!(idle.update(SECOND, true), IdleStep::Nothing);
        assert_eq!(idle.update(2 * SECOND - 1, true), IdleStep::Nothing);
        assert_eq!(idle.update(2 * SECOND, true), IdleStep::Arm);
        assert_eq!(idle.update(2 * SECOND + 25, false), IdleStep::Disarm);
        assert_eq!(idle.update(2 * SECOND + 50, true), IdleStep::Nothing);
    }
}
