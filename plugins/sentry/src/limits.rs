//! How many events are sent: a rule of plain data and the time.

use std::collections::HashMap;
use std::time::Duration;

use crate::counts::Outcome;

/// Issues of which it is remembered when they had an event.
const MOST_ISSUES: usize = 512;
const MINUTE: Duration = Duration::from_secs(60);

/// What makes an issue: cause and place.
pub(crate) type Issue = [String; 2];

/// Times are those since any fixed moment.
#[derive(Debug)]
pub(crate) struct Limits {
    pause: Duration,
    per_minute: u32,
    /// Events that may be sent at once, and when that was worked out.
    left: (f64, Duration),
    issues: HashMap<Issue, LastEvent>,
}

#[derive(Debug)]
struct LastEvent {
    at: Duration,
    held_back: u64,
}

impl Limits {
    pub(crate) fn new(pause: Duration, per_minute: u32) -> Self {
        let left = (f64::from(per_minute), Duration::ZERO);
        Self { pause, per_minute, left, issues: HashMap::new() }
    }

    /// How many stalls of the issue were held back since its last event, if there may be another one.
    pub(crate) fn admit(&mut self, now: Duration, issue: &Issue) -> Result<u64, Outcome> {
        if let Some(last) = self.issues.get_mut(issue)
            && now.saturating_sub(last.at) < self.pause
        {
            last.held_back += 1;
            return Err(Outcome::Paused);
        }
        if !self.take_one(now) {
            if let Some(last) = self.issues.get_mut(issue) {
                last.held_back += 1;
            }
            return Err(Outcome::Limited);
        }
        if !self.issues.contains_key(issue) && self.issues.len() == MOST_ISSUES {
            let oldest = self.issues.iter().min_by_key(|(_, last)| last.at);
            if let Some(oldest) = oldest.map(|(issue, _)| issue.clone()) {
                self.issues.remove(&oldest);
            }
        }
        let before = self.issues.insert(issue.clone(), LastEvent { at: now, held_back: 0 });
        Ok(before.map_or(0, |last| last.held_back))
    }

    /// A full bucket is a minute's events; it fills up within a minute.
    fn take_one(&mut self, now: Duration) -> bool {
        let most = f64::from(self.per_minute);
        let (left, then) = self.left;
        let filled = now.saturating_sub(then).as_secs_f64() / MINUTE.as_secs_f64() * most;
        let left = (left + filled).min(most);
        let may = left >= 1.0;
        self.left = (if may { left - 1.0 } else { left }, now);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issue(place: impl ToString) -> Issue {
        ["sleep".to_owned(), place.to_string()]
    }

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn an_issue_pauses_and_says_then_what_was_held_back() {
        let mut limits = Limits::new(MINUTE, 30);
        assert_eq!(limits.admit(at(0), &issue("a")), Ok(0));
        assert_eq!(limits.admit(at(59), &issue("a")), Err(Outcome::Paused));
        assert_eq!(limits.admit(at(59), &issue("b")), Ok(0));
        assert_eq!(limits.admit(at(59), &issue("a")), Err(Outcome::Paused));
        assert_eq!(limits.admit(at(60), &issue("a")), Ok(2));
        assert_eq!(limits.admit(at(120), &issue("a")), Ok(0));
    }

    #[test]
    fn a_process_has_so_many_a_minute() {
        let mut limits = Limits::new(Duration::ZERO, 3);
        let outcomes = [0, 0, 0, 0, 20, 20, 3600, 3600, 3600, 3600]
            .map(|second| limits.admit(at(second), &issue("a")).is_ok());
        assert_eq!(outcomes, [true, true, true, false, true, false, true, true, true, false]);
        let mut none = Limits::new(Duration::ZERO, 0);
        assert_eq!(none.admit(at(3600), &issue("a")), Err(Outcome::Limited));
    }

    #[test]
    fn the_issue_that_had_an_event_longest_ago_is_forgotten() {
        let mut limits = Limits::new(at(1_000_000), u32::MAX);
        for number in 0..=MOST_ISSUES {
            assert_eq!(limits.admit(at(number as u64), &issue(number)), Ok(0));
        }
        assert_eq!(limits.issues.len(), MOST_ISSUES);
        let now = at(MOST_ISSUES as u64 + 1);
        assert_eq!(limits.admit(now, &issue(1)), Err(Outcome::Paused));
        assert_eq!(limits.admit(now, &issue(0)), Ok(0));
    }
}
