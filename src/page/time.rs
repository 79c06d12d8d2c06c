//! How the page writes times.

use std::time::{Duration, SystemTime};

use crate::text::rough;

/// How long ago that was.
pub(super) fn ago(then: SystemTime, now: SystemTime) -> String {
    match now.duration_since(then).unwrap_or_default() {
        time if time < Duration::from_secs(1) => "now".to_owned(),
        time if time < Duration::from_secs(10) => format!("{} s ago", time.as_secs()),
        time => format!("{} ago", rough(time)),
    }
}

/// For programs: `2026-01-31T12:00:00.123Z`.
pub(super) fn stamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}

/// Of a whole, in percent.
pub(super) fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { 100.0 * part.as_secs_f64() / whole.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_ahead_is_now() {
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(100);
        assert_eq!(ago(then, SystemTime::UNIX_EPOCH), "now");
        assert_eq!(ago(then, then + Duration::from_millis(5900)), "5 s ago");
        assert_eq!(ago(then, then + Duration::from_secs(600)), "10 min ago");
    }

    #[test]
    fn nothing_of_nothing_is_nothing() {
        assert_eq!(share(Duration::ZERO, Duration::ZERO), 0.0);
        assert_eq!(share(Duration::from_secs(1), Duration::from_secs(4)), 25.0);
    }
}
