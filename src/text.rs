//! How stalls and runtimes are told to people: in the log, by the health routes and on the page.

#![cfg_attr(not(feature = "admin"), allow(dead_code, reason = "only the page reads all of it"))]

use std::time::Duration;

use crate::clock::human;
use crate::label::printable;
use crate::labels::UNATTRIBUTED;
use crate::stall::{Cause, Stall};

/// Who blocks whom, for how long, why and where.
pub(crate) fn blocks(stall: &Stall) -> String {
    format!(
        "{} has blocked {} of runtime {:?} for {}: {}{}",
        handler(stall),
        whom(stall),
        stall.runtime,
        human(stall.duration),
        why(stall),
        place(stall)
    )
}

/// How many of the workers are stalled.
pub(crate) fn share(stalled: usize, workers: usize) -> String {
    match workers {
        1 => "the only worker is stalled".to_owned(),
        _ => format!("{stalled} of {workers} workers stalled"),
    }
}

pub(crate) fn handler(stall: &Stall) -> &str {
    match &*stall.handler {
        UNATTRIBUTED => "a task without a name",
        handler => handler,
    }
}

pub(crate) fn whom(stall: &Stall) -> String {
    stall.worker.map_or_else(|| "its thread".to_owned(), |worker| format!("worker {worker}"))
}

pub(crate) fn place(stall: &Stall) -> String {
    stall.site.as_ref().map_or_else(String::new, |site| format!(" at {site}"))
}

pub(crate) fn why(stall: &Stall) -> String {
    match (&stall.detail, stall.cause) {
        (Some(detail), cause) => format!("{cause} ({detail})"),
        (None, Cause::Unknown) => "unknown cause".to_owned(),
        (None, cause) => cause.to_string(),
    }
}

/// For how long a runtime has been frozen.
pub(crate) fn frozen(runtime: &str, time: Duration) -> String {
    format!("runtime {runtime:?} has been frozen for {}", human(time))
}

/// The handler, at the start of a sentence.
pub(crate) fn handler_title(label: &str) -> String {
    match label {
        UNATTRIBUTED => "A task without a name".to_owned(),
        label => printable(label).into_owned(),
    }
}

/// How many of the workers a handler blocks.
pub(crate) fn blocked_workers(blocked: usize, workers: usize) -> String {
    match (blocked, workers) {
        (0, _) => "its thread".to_owned(),
        (_, 1) => "the only worker".to_owned(),
        (blocked, workers) if blocked >= workers => format!("all {workers} workers"),
        (blocked, workers) => format!("{blocked} of {workers} workers"),
    }
}

/// What follows a sentence about one handler.
pub(crate) fn more_stalls(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => "; 1 more stall in progress".to_owned(),
        more => format!("; {more} more stalls in progress"),
    }
}

/// Threads that the environment holds up.
pub(crate) fn outside(threads: usize, time: Duration) -> String {
    let threads = match threads {
        1 => "1 thread".to_owned(),
        count => format!("{count} threads"),
    };
    format!("No handler's fault: {threads} cannot run, for {} by now", rough(time))
}

/// With two or three digits: `104 ms`, `5.0 s`, `12 s`, `3 min`.
pub(crate) fn rough(time: Duration) -> String {
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
}
