//! How the page writes times.

use std::time::{Duration, SystemTime};

/// With two or three digits: `104 ms`, `5.0 s`, `12 s`, `3 min`.
pub(super) fn rough(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    match seconds {
        0 => format!("{millis} ms"),
        1..10 => format!("{seconds}.{} s", millis / 100),
        10..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

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
    fn times_have_a_unit_that_fits() {
        for (ms, shown) in [
            (0, "0 ms"),
            (104, "104 ms"),
            (5_090, "5.0 s"),
            (12_900, "12 s"),
            (119_999, "119 s"),
            (120_000, "2 min"),
            (7_199_000, "119 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 days"),
        ] {
            assert_eq!(rough(Duration::from_millis(ms)), shown);
        }
    }

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
