//! Time: the only place that reads a clock.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

/// Nanoseconds of monotonic time since the process first asked.
pub(crate) type Nanos = u64;

fn anchor() -> Instant {
    static ANCHOR: OnceLock<Instant> = OnceLock::new();
    *ANCHOR.get_or_init(Instant::now)
}

/// Now, on the monotonic clock. Zero is never returned, so that 0 can mean "not yet".
pub(crate) fn now() -> Nanos {
    #[cfg(test)]
    if let Some(now) = by_hand::now() {
        return now;
    }
    nanos(anchor().elapsed()).max(1)
}

/// What the calling runtime takes for now, which a paused clock can hold still.
pub(crate) fn runtime_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}

/// The wall-clock time at a monotonic instant that is past, by the wall clock as it stands now: it may
/// have been set since the process began, or the machine may have slept.
pub(crate) fn wall(at: Nanos) -> SystemTime {
    SystemTime::now() - Duration::from_nanos(now().saturating_sub(at))
}

/// The longest duration there is, 146 years: the sum of a few still fits.
pub(crate) const LONGEST: Nanos = Nanos::MAX / 4;

/// A duration in nanoseconds, at most [`LONGEST`].
pub(crate) fn nanos(duration: Duration) -> Nanos {
    u64::try_from(duration.as_nanos()).map_or(LONGEST, |nanos| nanos.min(LONGEST))
}

/// Nanoseconds as seconds, for metrics.
pub(crate) fn seconds(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}

/// How durations are written for people: `104 ms`, `5.003 s`.
pub(crate) fn human(duration: Duration) -> String {
    if duration < Duration::from_secs(1) {
        format!("{} ms", duration.as_millis())
    } else if duration.subsec_millis() == 0 {
        format!("{} s", duration.as_secs())
    } else {
        // Cut off, as the milliseconds are.
        format!("{}.{:03} s", duration.as_secs(), duration.subsec_millis())
    }
}

pub(crate) fn human_nanos(nanos: Nanos) -> String {
    human(Duration::from_nanos(nanos))
}

/// The time as a test says, on its own thread.
#[cfg(test)]
pub(crate) mod by_hand {
    use std::cell::Cell;

    use super::Nanos;

    thread_local! {
        static NOW: Cell<Option<Nanos>> = const { Cell::new(None) };
    }

    pub(super) fn now() -> Option<Nanos> {
        NOW.get()
    }

    /// Sets the time of this thread, which stands still from now on. `None`: the clock's.
    pub(crate) fn set(now: Option<Nanos>) {
        NOW.set(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_milliseconds_below_a_second_and_seconds_above() {
        assert_eq!(human(Duration::from_micros(104_900)), "104 ms");
        assert_eq!(human(Duration::from_millis(5003)), "5.003 s");
        assert_eq!(human(Duration::from_micros(1_618_900)), "1.618 s");
        assert_eq!(human(Duration::from_micros(5_000_900)), "5 s");
    }

    #[test]
    fn durations_without_end_can_be_added() {
        assert_eq!(nanos(Duration::from_millis(5)), 5_000_000);
        assert!(now().checked_add(2 * nanos(Duration::MAX)).is_some());
    }

    #[test]
    fn the_clock_moves_and_is_never_zero() {
        let first = now();
        std::thread::sleep(Duration::from_millis(2));
        assert!(first > 0);
        assert!(now() >= first + 2_000_000);
    }
}
