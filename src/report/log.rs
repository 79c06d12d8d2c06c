//! The log lines.

use tracing::Dispatch;
use tracing::dispatcher::{get_default, with_default};
use tracing::subscriber::NoSubscriber;

use super::event::Event;
use crate::clock::{Nanos, human, human_nanos};
use crate::label::printable;
use crate::stall::{Stack, Stall};
use crate::text;

/// Writes to the subscriber that was in force when the detector was started, or, if there was
/// none, to the one the process has when there is something to write.
#[derive(Debug)]
pub(super) struct Logger {
    at_start: Option<Dispatch>,
}

impl Logger {
    pub(super) fn new() -> Self {
        let current = get_default(Dispatch::clone);
        Self { at_start: (!current.is::<NoSubscriber>()).then_some(current) }
    }

    pub(super) fn log(&self, event: Event, stall: &Stall, suppressed: u64) {
        self.with_subscriber(|| write(event, stall, suppressed));
    }

    pub(super) fn rescued(&self, runtime: &str, suppressed: u64) {
        self.with_subscriber(|| {
            tracing::info!(
                target: "tower_stall",
                event = "rescue",
                runtime,
                suppressed,
                "timers and sockets of runtime {runtime:?} stood still behind a blocked worker: \
                 woke another one to take them over"
            );
        });
    }

    pub(super) fn dead(&self, runtime: &str, frozen: Nanos, stall: Option<&Stall>) {
        self.with_subscriber(|| write_dead(runtime, frozen, stall));
    }

    pub(super) fn all_unmatched(&self) {
        self.with_subscriber(|| {
            tracing::warn!(
                target: "tower_stall",
                event = "all_unmatched",
                "no request so far had a matched route, so every stall is blamed on `unmatched`: \
                 put the layer on the Router itself (`Router::layer`), not around it"
            );
        });
    }

    fn with_subscriber(&self, write: impl FnOnce()) {
        match &self.at_start {
            Some(dispatch) => with_default(dispatch, write),
            None => write(),
        }
    }
}

fn write(event: Event, stall: &Stall, suppressed: u64) {
    let message = message(event, stall);
    // tracing wants name, level and fields at compile time, so the fields stand in one place.
    macro_rules! write {
        ($level:ident, $event:literal) => {
            tracing::event!(
                target: "tower_stall",
                tracing::Level::$level,
                event = $event,
                stall = stall.id,
                runtime = &*stall.runtime,
                worker = stall.worker,
                handler = &*stall.handler,
                cause = stall.cause.as_str(),
                detail = stall.detail.as_deref(),
                blocked_ms = u64::try_from(stall.duration.as_millis()).unwrap_or(u64::MAX),
                workers = stall.workers,
                workers_stalled = stall.workers_stalled,
                requests_in_flight = stall.requests_in_flight,
                code.function.name = stall.site.as_ref().map(|site| site.function.as_str()),
                code.file.path = stall.site.as_ref().and_then(|site| site.file.as_deref()),
                code.line.number = stall.site.as_ref().and_then(|site| site.line),
                trace_id = stall.trace_id.map(|id| format!("{id:032x}")),
                suppressed,
                fix = &*stall.fix,
                "{message}"
            )
        };
    }
    match (event, stall.cause.is_environment()) {
        (Event::Started, false) => write!(WARN, "stall_started"),
        (Event::Continues, false) => write!(WARN, "stall_continues"),
        (Event::Started, true) => write!(INFO, "stall_started"),
        (Event::Continues, true) => write!(INFO, "stall_continues"),
        (Event::Ended, _) => write!(INFO, "stall_ended"),
    }
    if let (Event::Started, Some(stack)) = (event, &stall.stack) {
        tracing::debug!(
            target: "tower_stall",
            event = "stall_stack",
            stall = stall.id,
            stack = on_one_line(stack),
            "the stack of stall {}", stall.id
        );
    }
}

/// What is left of the log of a container that ends is 2048 bytes: the whole line fits.
const LONGEST_STACK: usize = 800;

fn write_dead(runtime: &str, frozen: Nanos, stall: Option<&Stall>) {
    let site = stall.and_then(|stall| stall.site.as_ref());
    let stack = stall.and_then(|stall| stall.stack.as_ref()).map(|stack| {
        let mut stack = on_one_line(stack);
        if let Some((end, _)) = stack.char_indices().nth(LONGEST_STACK) {
            stack.truncate(end);
            stack.push('…');
        }
        stack
    });
    let why = stall.map_or_else(|| "it runs no task".to_owned(), text::blocks);
    tracing::error!(
        target: "tower_stall",
        event = "dead",
        stall = stall.map(|stall| stall.id),
        runtime,
        worker = stall.and_then(|stall| stall.worker),
        handler = stall.map(|stall| &*stall.handler),
        cause = stall.map(|stall| stall.cause.as_str()),
        detail = stall.and_then(|stall| stall.detail.as_deref()),
        frozen_ms = frozen / 1_000_000,
        code.function.name = site.map(|site| site.function.as_str()),
        code.file.path = site.and_then(|site| site.file.as_deref()),
        code.line.number = site.and_then(|site| site.line),
        trace_id = stall.and_then(|stall| stall.trace_id).map(|id| format!("{id:032x}")),
        fix = stall.map(|stall| &*stall.fix),
        stack,
        "runtime {runtime:?} is dead, frozen for {}: {why}",
        human_nanos(frozen)
    );
}

/// A line of the log is one line.
fn on_one_line(stack: &Stack) -> String {
    printable(stack.to_string().trim_end().replace('\n', " <- ").as_str()).into_owned()
}

/// The sentence of a line.
fn message(event: Event, stall: &Stall) -> String {
    let Stall { id, workers, workers_stalled, requests_in_flight, .. } = stall;
    let time = human(stall.duration);
    let whom = text::whom(stall);
    if stall.cause.is_environment() {
        return environment(event, stall, &whom, &time);
    }
    let (handler, place) = (text::handler(stall), text::place(stall));
    match event {
        Event::Started => {
            let stalled = text::share(*workers_stalled, *workers);
            let requests = if *requests_in_flight == 1 { "request" } else { "requests" };
            let blocks = text::blocks(stall);
            format!("{blocks} · {stalled} · {requests_in_flight} {requests} in flight")
        }
        Event::Continues => {
            format!("stall {id} still blocks {whom} after {time}: {handler}{place}")
        }
        Event::Ended => format!("stall {id} ended after {time}: {handler}{place}"),
    }
}

/// The sentence of a line about what is nobody's fault in the program.
fn environment(event: Event, stall: &Stall, whom: &str, time: &str) -> String {
    let Stall { id, runtime, .. } = stall;
    match event {
        Event::Started => {
            format!("{whom} of runtime {runtime:?} could not run for {time}: {}", text::why(stall))
        }
        Event::Continues => format!("stall {id}: {whom} could still not run after {time}"),
        Event::Ended => format!("stall {id} ended after {time}: {whom} could not run"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::labels::UNATTRIBUTED;
    use crate::stall::tests::stall;
    use crate::stall::{Cause, Frame, Site};

    #[test]
    fn the_lines_say_who_blocks_what_and_for_how_long() {
        let stall = Stall { id: 17, requests_in_flight: 27, worker: Some(2), ..stall(17) };
        assert_eq!(
            message(Event::Started, &stall),
            "GET /hello has blocked worker 2 of runtime \"main\" for 100 ms: unknown cause · 1 of 4 workers stalled · 27 requests in flight"
        );
        let read = Stall {
            cause: Cause::FileIo,
            detail: Some("read of /data/big.csv".into()),
            ..stall.clone()
        };
        assert!(
            message(Event::Started, &read)
                .contains("for 100 ms: file_io (read of /data/big.csv) · 1 of")
        );
        let later = Stall { duration: Duration::from_millis(209), ..stall.clone() };
        assert_eq!(
            message(Event::Continues, &later),
            "stall 17 still blocks worker 2 after 209 ms: GET /hello"
        );
        let ended = Stall { duration: Duration::from_millis(5003), ..stall };
        assert_eq!(message(Event::Ended, &ended), "stall 17 ended after 5.003 s: GET /hello");
        let site = Site { function: "app::load".into(), file: None, line: None };
        let named = Stall { site: Some(site), ..ended };
        assert!(message(Event::Ended, &named).ends_with(": GET /hello at app::load"));
    }

    #[test]
    fn a_stack_is_one_line() {
        let frame = |function: &str| Frame { function: Some(function.into()), ..Frame::default() };
        let frames = vec![frame("read"), frame("app::load\u{1b}")];
        let stack = Stack { frames, partial: true, ..Stack::default() };
        assert_eq!(on_one_line(&stack), "read <- app::load\\u{1b} <- (outer frames are missing)");
    }

    #[test]
    fn what_has_no_name_is_told_as_such() {
        let stall = Stall { handler: UNATTRIBUTED.into(), ..stall(3) };
        assert!(message(Event::Started, &stall).starts_with("a task without a name has blocked"));
        assert!(message(Event::Ended, &stall).ends_with(": a task without a name"));
    }

    #[test]
    fn the_environment_is_told_in_other_words() {
        let stopped = Stall {
            cause: Cause::Suspended,
            detail: Some("suspended for 500 ms of 531 ms".into()),
            handler: "environment".into(),
            worker: Some(2),
            ..stall(3)
        };
        assert_eq!(
            message(Event::Started, &stopped),
            "worker 2 of runtime \"main\" could not run for 100 ms: suspended (suspended for 500 ms of 531 ms)"
        );
        assert!(message(Event::Ended, &stopped).ends_with("worker 2 could not run"));
    }

    #[test]
    fn a_root_future_has_a_thread_and_no_worker() {
        let root = Stall { worker: None, ..stall(1) };
        assert!(message(Event::Continues, &root).contains("still blocks its thread after"));
    }
}
