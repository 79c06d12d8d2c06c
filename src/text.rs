//! How stalls are told to people, in the log and by health routes.

use crate::clock::human;
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

pub(crate) fn handler(stall: &Stall) -> &'static str {
    match stall.handler {
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
