//! Sentences of the page.

use std::time::Duration;

use super::share;
use crate::label::printable;
use crate::labels::UNATTRIBUTED;
use crate::stall::Stall;

/// The handler, at the start of a sentence.
pub(crate) fn handler_title(label: &str) -> String {
    match label {
        UNATTRIBUTED => "A task without a name".to_owned(),
        label => printable(label).into_owned(),
    }
}

/// Who blocks how many workers, and for how long.
pub(crate) fn blocks_now(
    stall: &Stall,
    blocked: usize,
    workers: usize,
    many_runtimes: bool,
) -> String {
    let whom = match (blocked, workers) {
        (0, _) => "its thread".to_owned(),
        (_, 1) => "the only worker".to_owned(),
        _ if blocked >= workers => format!("all {workers} workers"),
        _ => format!("{blocked} of {workers} workers"),
    };
    let runtime = match many_runtimes {
        true => format!(" of runtime {:?}", stall.runtime),
        false => String::new(),
    };
    let (who, time) = (handler_title(&stall.handler), rough(stall.duration));
    format!("{who} blocks {whom}{runtime} now, for {time}")
}

/// How many requests waited meanwhile, at most.
pub(crate) fn waited(requests: u64) -> String {
    match requests {
        0 => "none waited".to_owned(),
        requests => format!("up to {requests} waited"),
    }
}

/// Why a stall has no stack.
pub(crate) fn stack_missing(stall: &Stall) -> &str {
    stall.stack_missing.as_deref().unwrap_or("it could not be taken")
}

/// The end of a sentence about one handler.
pub(crate) fn more_stalls(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => "; 1 more stall in progress".to_owned(),
        more => format!("; {more} more stalls in progress"),
    }
}

/// How many threads the environment holds up, and for how long.
pub(crate) fn outside(threads: usize, time: Duration) -> String {
    let threads = match threads {
        1 => "1 thread".to_owned(),
        count => format!("{count} threads"),
    };
    format!("No handler's fault: {threads} cannot run, for {} by now", rough(time))
}

pub(crate) fn dead_for(runtime: &str, frozen: Duration) -> String {
    format!("Dead: runtime {runtime:?} is frozen for {}", rough(frozen))
}

pub(crate) fn frozen_by_nobody(runtime: &str, time: Duration) -> String {
    let time = rough(time);
    format!("Runtime {runtime:?} is frozen for {time}, by no handler that is known")
}

pub(crate) fn stalled_workers(runtime: &str, stalled: usize, workers: usize) -> String {
    format!("Runtime {runtime:?}: {}", share(stalled, workers))
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
