//! How much of the stalls is logged: each one up to a limit, beyond it a sum a minute.
//!
//! A stall whose start was logged has a line for its end too, whatever else happens, so that no stall
//! seems endless. One whose start was not is told when it lasts for [`TOLD_AFTER`], else it is summed up.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::clock::Nanos;
use crate::stall::{Cause, Site, Stall};

const MINUTE: Nanos = 60_000_000_000;
/// Stalls of one handler a minute, and lines on each other topic.
pub(crate) const MOST_OF_ONE: u32 = 10;
/// Stalls a minute in all.
pub(crate) const MOST: u32 = 60;
/// Which stalls are told whatever the limits: as each holds a thread for so long, they cannot be many.
pub(crate) const TOLD_AFTER: Duration = Duration::from_secs(10);
/// More than are told in an hour.
const MOST_OPEN: usize = 4096;
/// Handlers with a sum of their own a minute. The others have one together.
const MOST_SUMS: usize = 20;

/// What a line is about that is not about a stall: "dead" and the runtime, for example.
pub(super) type Topic = (&'static str, &'static str);

#[derive(Debug, Default)]
pub(super) struct Limiter {
    topics: HashMap<Topic, (Window, u64)>,
    all: Window,
    handlers: HashMap<&'static str, Window>,
    /// Stalls whose start was logged and that have not ended, the last [`MOST_OPEN`] of them: the end of one
    /// may be lost.
    open: BTreeSet<u64>,
    /// What was not logged since the last sums.
    held_back: HashMap<&'static str, HeldBack>,
    sums_due: Option<Nanos>,
}

#[derive(Debug, Default)]
struct Window {
    start: Nanos,
    lines: u32,
}

/// What becomes of the start of a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    Told,
    /// Not told, and the first one of the handler's since the last sums.
    FirstHeldBack,
    HeldBack,
}

/// Stalls of one handler that were not logged one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct HeldBack {
    /// Those that have ended.
    pub(super) stalls: u64,
    pub(super) time: Duration,
    pub(super) longest: Option<Longest>,
}

/// The longest of some stalls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Longest {
    pub(super) id: u64,
    pub(super) time: Duration,
    pub(super) cause: Cause,
    pub(super) site: Option<Site>,
}

/// Sums of about a minute.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Those of the most time, the most time first.
    pub(super) handlers: Vec<(&'static str, HeldBack)>,
    /// The number of other handlers, and what they have in common.
    pub(super) others: (usize, HeldBack),
}

impl Window {
    fn has_room(&mut self, now: Nanos, most: u32) -> bool {
        if now.saturating_sub(self.start) >= MINUTE {
            *self = Self { start: now, lines: 0 };
        }
        self.lines < most
    }
}

impl Limiter {
    /// Admits a line, with the number of lines on its topic that were held back since the last one.
    /// `None` holds it back.
    pub(super) fn admit(&mut self, now: Nanos, topic: Topic) -> Option<u64> {
        let (window, suppressed) = self.topics.entry(topic).or_default();
        if !window.has_room(now, MOST_OF_ONE) {
            *suppressed += 1;
            return None;
        }
        window.lines += 1;
        Some(std::mem::take(suppressed))
    }

    /// A stall begins.
    pub(super) fn start(&mut self, now: Nanos, handler: &'static str, id: u64) -> Start {
        if self.is_told(id) {
            // Of the environment first, and now of the program.
            return Start::Told;
        }
        let of_handler = self.handlers.entry(handler).or_default();
        if of_handler.has_room(now, MOST_OF_ONE) && self.all.has_room(now, MOST) {
            of_handler.lines += 1;
            self.all.lines += 1;
            self.tell(id);
            return Start::Told;
        }
        self.sums_due.get_or_insert(now + MINUTE);
        let known = self.held_back.len();
        self.held_back.entry(handler).or_default();
        if self.held_back.len() > known { Start::FirstHeldBack } else { Start::HeldBack }
    }

    /// Whether the start of a stall was logged that has not ended.
    pub(super) fn is_told(&self, id: u64) -> bool {
        self.open.contains(&id)
    }

    /// The start of a stall is told, which may be late: one that was held back may last for long.
    pub(super) fn tell(&mut self, id: u64) {
        self.open.insert(id);
        if self.open.len() > MOST_OPEN {
            self.open.pop_first();
        }
    }

    /// A stall has ended. Returns whether its start was logged; it is summed up otherwise.
    pub(super) fn end(&mut self, now: Nanos, handler: &'static str, stall: &Stall) -> bool {
        if self.open.remove(&stall.id) {
            return true;
        }
        self.sums_due.get_or_insert(now + MINUTE);
        self.held_back.entry(handler).or_default().add(stall);
        false
    }

    /// When the next sums are due.
    pub(super) fn sums_due(&self) -> Option<Nanos> {
        self.sums_due
    }

    /// The sums, if they are due.
    pub(super) fn sums(&mut self, now: Nanos) -> Option<Sums> {
        self.sums_due.take_if(|due| now >= *due)?;
        let mut handlers: Vec<_> =
            self.held_back.drain().filter(|(_, held_back)| held_back.stalls > 0).collect();
        handlers.sort_by_key(|(handler, held_back)| (Reverse(held_back.time), *handler));
        let others = handlers.split_off(handlers.len().min(MOST_SUMS));
        let mut together = HeldBack::default();
        others.iter().for_each(|(_, held_back)| together.merge(held_back.clone()));
        Some(Sums { handlers, others: (others.len(), together) })
    }
}

impl HeldBack {
    fn add(&mut self, stall: &Stall) {
        let Stall { id, duration, cause, ref site, .. } = *stall;
        let longest = Some(Longest { id, time: duration, cause, site: site.clone() });
        self.merge(Self { stalls: 1, time: duration, longest });
    }

    fn merge(&mut self, other: Self) {
        let Self { stalls, time, longest } = self;
        *stalls += other.stalls;
        *time = time.saturating_add(other.time);
        let is_longer = |other: &Longest| longest.as_ref().is_none_or(|one| one.time < other.time);
        if let Some(other) = other.longest.filter(is_longer) {
            *longest = Some(other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stall::tests::stall;

    const HELLO: &str = "GET /hello";

    fn ended(id: u64, millis: u64) -> Stall {
        Stall { duration: Duration::from_millis(millis), in_progress: false, ..stall(id) }
    }

    #[test]
    fn a_handler_has_ten_stalls_a_minute_with_their_ends_and_then_a_sum() {
        let mut limiter = Limiter::default();
        for id in 0..10 {
            assert_eq!(limiter.start(MINUTE + id, HELLO, id), Start::Told);
        }
        assert_eq!(limiter.start(MINUTE + 10, HELLO, 10), Start::FirstHeldBack);
        assert_eq!(limiter.start(MINUTE + 11, HELLO, 11), Start::HeldBack);
        assert_eq!(limiter.start(MINUTE + 12, HELLO, 9), Start::Told, "as another's before");
        assert!(limiter.end(MINUTE + 12, HELLO, &ended(9, 100)), "its start was told");
        assert!(!limiter.end(MINUTE + 12, HELLO, &ended(10, 300)));
        assert!(!limiter.end(MINUTE + 12, HELLO, &ended(11, 200)));
        let due = 2 * MINUTE + 10;
        assert_eq!((limiter.sums_due(), limiter.sums(due - 1)), (Some(due), None));
        let sums = limiter.sums(due).expect("they are due");
        let [(HELLO, sum)] = &sums.handlers[..] else { panic!("{sums:?}") };
        assert_eq!((sum.stalls, sum.time), (2, Duration::from_millis(500)));
        let longest = sum.longest.as_ref().map(|longest| (longest.id, longest.time));
        assert_eq!(longest, Some((10, Duration::from_millis(300))));
        assert_eq!((limiter.sums_due(), limiter.sums(due + MINUTE)), (None, None));
        assert_eq!(limiter.start(due, HELLO, 12), Start::Told, "another minute");
    }

    #[test]
    fn what_lasts_and_was_held_back_can_be_told_later() {
        let mut limiter = Limiter::default();
        for id in 0..10 {
            assert_eq!(limiter.start(MINUTE, HELLO, id), Start::Told);
        }
        assert_eq!(limiter.start(MINUTE, HELLO, 10), Start::FirstHeldBack);
        assert!(!limiter.is_told(10));
        limiter.tell(10);
        assert!(limiter.is_told(10) && limiter.end(2 * MINUTE, HELLO, &ended(10, 60_000)));
        let sums = limiter.sums(2 * MINUTE).expect("they are due");
        assert_eq!(sums, Sums::default(), "nothing is left to sum up");
    }

    #[test]
    fn stalls_whose_ends_are_lost_take_no_more_memory() {
        let mut limiter = Limiter::default();
        (0..2 * MOST_OPEN as u64).for_each(|id| limiter.tell(id));
        assert_eq!(limiter.open.len(), MOST_OPEN);
        assert!(!limiter.is_told(0) && limiter.is_told(2 * MOST_OPEN as u64 - 1));
    }

    #[test]
    fn the_process_has_sixty_stalls_a_minute_and_sums_for_twenty_handlers() {
        let mut limiter = Limiter::default();
        let handlers: Vec<_> =
            (0..100).map(|number| crate::label::intern(&format!("limited {number:02}"))).collect();
        let starts = (0..).zip(&handlers);
        let told = starts.filter(|(id, name)| limiter.start(MINUTE, name, *id) == Start::Told);
        assert_eq!(told.count(), 60);
        for (id, name) in (0..).zip(&handlers).skip(60) {
            assert!(!limiter.end(MINUTE, name, &ended(id, 1000 - id)));
        }
        let sums = limiter.sums(2 * MINUTE).expect("they are due");
        let names: Vec<_> = sums.handlers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, handlers[60..80], "the most time first");
        let (others, together) = sums.others;
        assert_eq!((others, together.stalls), (20, 20));
        assert_eq!(together.longest.map(|longest| longest.id), Some(80));
    }

    #[test]
    fn other_topics_have_ten_lines_a_minute_and_the_next_tells_how_many_it_swallowed() {
        let mut limiter = Limiter::default();
        let mut admit = |now| limiter.admit(now, ("dead", "main"));
        for line in 0..10 {
            assert_eq!(admit(MINUTE + line), Some(0));
        }
        assert_eq!([admit(MINUTE + 10), admit(2 * MINUTE - 1)], [None, None]);
        assert_eq!([admit(2 * MINUTE), admit(2 * MINUTE)], [Some(2), Some(0)]);
    }
}
