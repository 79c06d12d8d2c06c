//! For how long a worker was ready to run and had no CPU, scan by scan: a pure function of what the
//! scheduler says of its thread.

use crate::causes::Turn;
use crate::clock::Nanos;

/// What was read last, and of which thread.
#[derive(Debug, Default)]
pub(super) struct Queue {
    last: Option<(u32, Turn)>,
}

impl Queue {
    /// How much of the `time` since the last look the thread of that number waited, if it was
    /// looked at then.
    pub(super) fn look(&mut self, now: Option<(u32, Turn)>, time: Nanos) -> Nanos {
        match (std::mem::replace(&mut self.last, now), now) {
            (Some((thread, before)), Some((same, now))) if same == thread => {
                waited(before, now, time)
            }
            _ => 0,
        }
    }
}

/// A wait is in the scheduler's sum when it is over. Until then it shows in that a thread which is
/// ready has not run.
fn waited(before: Turn, now: Turn, time: Nanos) -> Nanos {
    let over = now.delay.saturating_sub(before.delay);
    let open = match before.ready && now.ready {
        true => time.saturating_sub(now.cpu.saturating_sub(before.cpu)),
        false => 0,
    };
    over.max(open).min(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TURN: Turn = Turn { cpu: 5000, delay: 700, ready: true };

    #[test]
    fn a_wait_counts_while_it_lasts_and_once() {
        let mut queue = Queue::default();
        let mut look = |turn| queue.look(Some((7, turn)), 25);
        assert_eq!(look(TURN), 0, "the first look");
        assert_eq!(look(TURN), 25, "no CPU");
        assert_eq!(look(Turn { cpu: 5020, ..TURN }), 5, "for a while");
        assert_eq!(look(Turn { cpu: 5045, delay: 755, ..TURN }), 25, "the sum is told later");
        assert_eq!(look(Turn { cpu: 5070, delay: 755, ..TURN }), 0, "computes");
    }

    #[test]
    fn a_thread_that_waits_for_something_else_does_not_wait_for_a_cpu() {
        let asleep = Turn { ready: false, ..TURN };
        for [before, now] in [[asleep, asleep], [TURN, asleep], [asleep, TURN]] {
            assert_eq!(waited(before, now, 25), 0, "{before:?} {now:?}");
        }
        assert_eq!(waited(asleep, Turn { delay: 710, ..asleep }, 25), 10, "it woke in between");
    }

    #[test]
    fn what_was_another_thread_or_long_ago_tells_nothing() {
        let mut queue = Queue::default();
        assert_eq!(queue.look(Some((7, TURN)), 25), 0);
        assert_eq!(queue.look(Some((8, TURN)), 25), 0, "another thread");
        assert_eq!(queue.look(None, 25), 0, "it was not looked at, or could not be");
        assert_eq!(queue.look(Some((8, TURN)), 25), 0);
        assert_eq!(queue.look(Some((8, TURN)), 25), 25);
    }
}
