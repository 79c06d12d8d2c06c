//! Whether a frozen runtime was given up: shut down by `shutdown_background()` or `shutdown_timeout()`
//! while all of its workers are stuck. Nothing tells its tasks, and nobody waits for it any more.
//!
//! It shows by its queue, which no worker shortens: a task that is spawned on a runtime that is open makes
//! it longer, and one that was shut down drops the task.

use crate::clock::Nanos;

/// How long a freeze lasts before the question is asked.
const FROZEN: Nanos = 1_000_000_000;
/// How long a task may take into the queue, or a worker to take it out.
const WAIT: Nanos = 250_000_000;
/// A worker that is stuck since may have taken the first task with others. There is none to take the
/// second.
const TASKS: u32 = 2;

/// What is known of one runtime.
#[derive(Debug, Default)]
pub(crate) struct ClosedTracker {
    /// When the last task was spawned, how many were polled and how many waited before.
    asked: Option<(Nanos, u64, usize)>,
    /// Tasks that were neither polled nor are they in the queue.
    dropped: u32,
    is_open: bool,
}

/// What this scan has read of the runtime.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ClosedInput {
    /// How long it has been frozen.
    pub(crate) frozen: Nanos,
    /// A worker is parked: it would notice a shutdown.
    pub(crate) parked: bool,
    /// Tasks that wait in the queue of the runtime.
    pub(crate) queued: usize,
    /// How many tasks of ours were polled so far.
    pub(crate) answers: u64,
}

/// What the watchdog has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClosedStep {
    Nothing,
    /// Spawn a task.
    Ask,
    /// Stop watching the runtime: it was shut down.
    Closed,
}

impl ClosedTracker {
    pub(crate) fn update(&mut self, now: Nanos, input: ClosedInput) -> ClosedStep {
        if input.frozen < FROZEN || input.parked {
            *self = Self::default();
            return ClosedStep::Nothing;
        }
        match self.asked {
            _ if self.is_open => return ClosedStep::Nothing,
            Some((at, ..)) if now.saturating_sub(at) < WAIT => return ClosedStep::Nothing,
            Some((_, answers, queued)) if (input.answers, input.queued) != (answers, queued) => {
                self.is_open = true;
                return ClosedStep::Nothing;
            }
            Some(_) => self.dropped += 1,
            None => {}
        }
        if self.dropped >= TASKS {
            return ClosedStep::Closed;
        }
        self.asked = Some((now, input.answers, input.queued));
        ClosedStep::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;
    const FROZEN: ClosedInput =
        ClosedInput { frozen: 2_000 * MS, parked: false, queued: 2, answers: 3 };

    #[test]
    fn a_runtime_that_drops_two_tasks_was_shut_down() {
        let mut closed = ClosedTracker::default();
        let short = ClosedInput { frozen: 999 * MS, ..FROZEN };
        assert_eq!(closed.update(0, short), ClosedStep::Nothing);
        assert_eq!(closed.update(10 * MS, FROZEN), ClosedStep::Ask);
        assert_eq!(closed.update(200 * MS, FROZEN), ClosedStep::Nothing, "it takes its time");
        assert_eq!(closed.update(300 * MS, FROZEN), ClosedStep::Ask);
        assert_eq!(closed.update(600 * MS, FROZEN), ClosedStep::Closed);
    }

    #[test]
    fn one_that_keeps_or_polls_them_is_open() {
        for open in [
            ClosedInput { queued: 3, ..FROZEN },
            ClosedInput { queued: 0, ..FROZEN },
            ClosedInput { answers: 4, ..FROZEN },
            ClosedInput { parked: true, ..FROZEN },
        ] {
            let mut closed = ClosedTracker::default();
            assert_eq!(closed.update(0, FROZEN), ClosedStep::Ask);
            for late in 1..20 {
                assert_eq!(closed.update(late * 300 * MS, open), ClosedStep::Nothing, "{open:?}");
            }
        }
    }
}
