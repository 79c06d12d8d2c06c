//! The limit of log lines a minute: for each handler and cause, and in all.

use std::collections::HashMap;

use crate::clock::Nanos;

const MINUTE: Nanos = 60_000_000_000;
/// Lines a minute for each handler and cause, and for other topics.
const MOST_OF_ONE: u32 = 10;
/// Lines a minute in all.
const MOST: u32 = 60;

/// What a line is about: handler and cause, for example.
pub(super) type Topic = (&'static str, &'static str);

#[derive(Debug, Default)]
pub(super) struct Limiter {
    all: Window,
    each: HashMap<Topic, (Window, u64)>,
}

#[derive(Debug, Default)]
struct Window {
    start: Nanos,
    lines: u32,
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
        let has_room = self.all.has_room(now, MOST);
        self.admit_if(has_room, now, topic)
    }

    /// The same for a line that others must not crowd out.
    pub(super) fn admit_urgent(&mut self, now: Nanos, topic: Topic) -> Option<u64> {
        self.admit_if(true, now, topic)
    }

    fn admit_if(&mut self, has_room: bool, now: Nanos, topic: Topic) -> Option<u64> {
        let (window, suppressed) = self.each.entry(topic).or_default();
        if !(window.has_room(now, MOST_OF_ONE) && has_room) {
            *suppressed += 1;
            return None;
        }
        window.lines += 1;
        self.all.lines += 1;
        Some(std::mem::take(suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_has_ten_lines_a_minute_and_the_next_tells_how_many_it_swallowed() {
        let mut limiter = Limiter::default();
        let mut admit = |now| limiter.admit(now, ("GET /hello", "sleep"));
        for line in 0..10 {
            assert_eq!(admit(MINUTE + line), Some(0));
        }
        assert_eq!([admit(MINUTE + 10), admit(2 * MINUTE - 1)], [None, None]);
        assert_eq!([admit(2 * MINUTE), admit(2 * MINUTE)], [Some(2), Some(0)]);
    }

    #[test]
    fn the_process_has_sixty_lines_a_minute() {
        let mut limiter = Limiter::default();
        let handlers: Vec<_> =
            (0..100).map(|number| crate::label::intern(&format!("limited {number}"))).collect();
        let admitted =
            handlers.iter().filter(|handler| limiter.admit(MINUTE, (*handler, "cpu")).is_some());
        assert_eq!(admitted.count(), 60);
        let urgent = (0..11).map(|_| limiter.admit_urgent(MINUTE, ("dead", "main")));
        assert_eq!(urgent.filter(Option::is_some).count(), 10);
        assert_eq!(limiter.admit(2 * MINUTE, (handlers[99], "cpu")), Some(1));
    }
}
