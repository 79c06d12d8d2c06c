//! When a runtime is frozen, and which ticks are missing: the rules for the heartbeat of one runtime.

use crate::clock::Nanos;

/// A freeze or an undriven runtime fills in at most this much of missing ticks.
const MOST_FILLED: Nanos = 120_000_000_000;

/// What is known of the heartbeat of one runtime.
#[derive(Debug, Default)]
pub(crate) struct FreezeTracker {
    due: Nanos,
    filled: u64,
    /// A due time that was missed because of an allowed block.
    excused: Option<Nanos>,
    /// When the current freeze began, and up to when its time has been counted.
    freeze: Option<(Nanos, Nanos)>,
}

/// What this scan has read of the runtime.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FreezeInput {
    /// When the awaited tick should wake; `None` where nothing ticks.
    pub(crate) due: Option<Nanos>,
    /// When the last tick woke.
    pub(crate) beat: Nanos,
    pub(crate) tick: Nanos,
    pub(crate) threshold: Nanos,
    /// Whether a missing tick proves a freeze. It does not on a current-thread runtime, which may
    /// not be driven.
    pub(crate) driven: bool,
    /// Since when all workers are held by stalls, or by stalls and allowed blocks, if they are.
    pub(crate) all_held_since: Option<Nanos>,
    /// Until when a worker in an allowed block is a reason why no tick comes. `None` if there is none.
    pub(crate) allowed_until: Option<Nanos>,
}

impl FreezeTracker {
    /// The lags of missing ticks to record now: how late the awaited tick was at each later due time
    /// that has passed. Each is returned once.
    pub(crate) fn missing(
        &mut self,
        now: Nanos,
        input: FreezeInput,
    ) -> impl Iterator<Item = Nanos> + use<> {
        let due = input.due.unwrap_or(0);
        if due != self.due {
            (self.due, self.filled) = (due, 0);
        }
        let proven = due > 0 && (input.driven || input.all_held_since.is_some());
        let tick = input.tick.max(1);
        let missed = if proven { now.saturating_sub(due).min(MOST_FILLED) / tick } else { 0 };
        let from = self.filled;
        self.filled = from.max(missed);
        (from + 1..=missed).map(move |number| number * tick)
    }

    /// The frozen time since the last call.
    pub(crate) fn frozen(&mut self, now: Nanos, input: FreezeInput) -> Nanos {
        let is_allowed = input.allowed_until.is_some_and(|until| now < until);
        if is_allowed && input.all_held_since.is_none() {
            self.excused = input.due;
            self.freeze = None;
            return 0;
        }
        // Time in which the block was allowed does not count.
        let due = input.due.map(|due| due.max(input.allowed_until.unwrap_or(0)));
        let is_excused = input.allowed_until.is_none() && self.excused == input.due;
        let overdue = due.filter(|due| {
            input.driven && now.saturating_sub(*due) > input.threshold && !is_excused
        });
        if let Some(since) = overdue.into_iter().chain(input.all_held_since).min() {
            let (since, counted) = self.freeze.unwrap_or((since, since));
            self.freeze = Some((since, now.max(counted)));
            now.saturating_sub(counted)
        } else if let Some((_, counted)) = self.freeze.take() {
            // If a tick ended the freeze, it ended when that tick woke.
            input.beat.clamp(counted, now.max(counted)) - counted
        } else {
            0
        }
    }

    /// When the current freeze began.
    pub(crate) fn since(&self) -> Option<Nanos> {
        self.freeze.map(|(since, _)| since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUT: FreezeInput = FreezeInput {
        due: Some(1000),
        beat: 975,
        tick: 25,
        threshold: 100,
        driven: true,
        all_held_since: None,
        allowed_until: None,
    };

    fn missing(freeze: &mut FreezeTracker, now: Nanos, input: FreezeInput) -> Vec<Nanos> {
        freeze.missing(now, input).collect()
    }

    #[test]
    fn missing_ticks_are_filled_in_while_they_are_missing_and_once() {
        let mut freeze = FreezeTracker::default();
        assert_eq!(missing(&mut freeze, 1010, INPUT), [0; 0]);
        assert_eq!(missing(&mut freeze, 1060, INPUT), [25, 50]);
        assert_eq!(missing(&mut freeze, 1060, INPUT), [0; 0]);
        assert_eq!(missing(&mut freeze, 1080, INPUT), [75]);
        let next = FreezeInput { due: Some(1200), ..INPUT };
        assert_eq!(missing(&mut freeze, 1226, next), [25]);
    }

    #[test]
    fn a_stall_of_a_second_gives_forty_samples() {
        let mut freeze = FreezeTracker::default();
        let samples = (1000..=2000).flat_map(|now| missing(&mut freeze, now, INPUT));
        assert_eq!(samples.collect::<Vec<_>>(), (1..=40).map(|n| n * 25).collect::<Vec<_>>());
    }

    #[test]
    fn filling_in_ends_after_two_minutes() {
        let second = 1_000_000_000;
        let input = FreezeInput { due: Some(second), tick: second, ..INPUT };
        assert_eq!(missing(&mut FreezeTracker::default(), 10_000 * second, input).len(), 120);
    }

    #[test]
    fn a_runtime_nobody_drives_lacks_nothing_until_a_stall_proves_it() {
        let undriven = FreezeInput { driven: false, ..INPUT };
        let mut freeze = FreezeTracker::default();
        assert_eq!(missing(&mut freeze, 5000, undriven), [0; 0]);
        assert_eq!(freeze.frozen(5000, undriven), 0);
        let stalled = FreezeInput { all_held_since: Some(1001), ..undriven };
        let mut freeze = FreezeTracker::default();
        assert_eq!(missing(&mut freeze, 1101, stalled), [25, 50, 75, 100]);
        assert_eq!(freeze.frozen(1101, stalled), 100);
    }

    #[test]
    fn frozen_time_is_counted_while_it_lasts_and_up_to_the_tick_that_ends_it() {
        let mut freeze = FreezeTracker::default();
        assert_eq!(freeze.frozen(1100, INPUT), 0);
        assert_eq!(freeze.frozen(1101, INPUT), 101);
        assert_eq!(freeze.frozen(1150, INPUT), 49);
        assert_eq!(freeze.since(), Some(1000));
        let woken = FreezeInput { due: Some(1185), beat: 1160, ..INPUT };
        assert_eq!(freeze.frozen(1170, woken), 10);
        assert_eq!(freeze.since(), None);
        assert_eq!(freeze.frozen(1180, woken), 0);
    }

    #[test]
    fn all_workers_stalled_is_a_freeze_without_any_tick() {
        let input = FreezeInput { due: None, all_held_since: Some(1000), ..INPUT };
        let mut freeze = FreezeTracker::default();
        assert_eq!(freeze.frozen(1120, input), 120);
        assert_eq!(freeze.frozen(1130, FreezeInput { all_held_since: None, ..input }), 0);
    }

    #[test]
    fn an_allowed_block_is_no_freeze_nor_is_what_it_delays() {
        let mut freeze = FreezeTracker::default();
        let allowed = FreezeInput { allowed_until: Some(5000), ..INPUT };
        assert_eq!(freeze.frozen(1500, allowed), 0);
        assert_eq!(freeze.frozen(1501, INPUT), 0, "the tick is still missing because of it");
        assert_eq!(freeze.frozen(2200, FreezeInput { due: Some(2000), ..INPUT }), 200);
    }

    #[test]
    fn an_allowed_block_is_no_reason_for_ever_nor_for_the_stalls_of_others() {
        let mut freeze = FreezeTracker::default();
        let allowed = FreezeInput { allowed_until: Some(5000), ..INPUT };
        assert_eq!(freeze.frozen(4999, allowed), 0);
        assert_eq!(freeze.frozen(5101, allowed), 101, "from the end of its time on");
        let mut freeze = FreezeTracker::default();
        assert_eq!(freeze.frozen(1500, allowed), 0);
        let all = FreezeInput { all_held_since: Some(1450), ..allowed };
        assert_eq!(freeze.frozen(1600, all), 150, "the others are stalled");
    }
}
