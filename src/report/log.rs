//! The log lines.

use std::time::Duration;

use tracing::Dispatch;
use tracing::dispatcher::{get_default, with_default};
use tracing::subscriber::NoSubscriber;

use super::event::Event;
use super::limiter::{HeldBack, MOST, MOST_OF_ONE, TOLD_AFTER};
use crate::clock::{Nanos, human_nanos};
use crate::label::printable;
use crate::runtime::registry::Registry;
use crate::stall::{Awaits, Stack, Stall};
use crate::text;
use crate::vitals::ThreadReport;

/// Writes to the subscriber that was the default when the detector was started, or, if there was none,
/// to the default at the time of writing.
#[derive(Debug)]
pub(super) struct Logger {
    at_start: Option<Dispatch>,
}

impl Logger {
    pub(super) fn new() -> Self {
        let current = get_default(Dispatch::clone);
        Self { at_start: (!current.is::<NoSubscriber>()).then_some(current) }
    }

    /// Whether there is one.
    pub(super) fn has_subscriber(&self) -> bool {
        self.at_start.is_some() || get_default(|current| !current.is::<NoSubscriber>())
    }

    /// Calls what writes to the log.
    pub(super) fn write(&self, write: impl FnOnce()) {
        match &self.at_start {
            Some(dispatch) => with_default(dispatch, write),
            None => write(),
        }
    }
}

/// What is watched, and what a stack shows.
pub(super) fn watching(registry: &Registry) {
    let runtimes = registry.runtimes();
    let watched = runtimes.iter().map(|runtime| (runtime.name, runtime.workers));
    let watched: Vec<_> = watched.collect();
    let detail = registry.stack_detail.get().copied();
    tracing::info!(
        target: "tower_stall",
        event = "watching",
        threshold_ms = registry.threshold / 1_000_000,
        workers = watched.iter().map(|(_, workers)| workers).sum::<usize>(),
        capture = registry.capture,
        "{}",
        text::watching(&watched, registry.threshold, detail)
    );
}

/// A thread of the detector has panicked.
pub(super) fn fault(report: ThreadReport) {
    tracing::error!(
        target: "tower_stall",
        event = "fault",
        thread = report.thread.as_str(),
        panics = report.panics,
        "{}",
        text::thread(report)
    );
}

pub(super) fn rescued(runtime: &str, suppressed: u64) {
    tracing::info!(
        target: "tower_stall",
        event = "rescue",
        runtime,
        suppressed,
        "timers and sockets of runtime {runtime:?} stood still behind a blocked worker: \
         woke another one to take them over"
    );
}

pub(super) fn all_unmatched() {
    tracing::warn!(
        target: "tower_stall",
        event = "all_unmatched",
        "no request so far had a matched route, so every stall is blamed on `unmatched`: \
         put the layer on the Router itself (`Router::layer`), not around it"
    );
}

/// A stall with all that is known of it, or, while it continues, how long it has lasted.
pub(super) fn stall(event: Event, stall: &Stall) {
    let message = match event {
        Event::Started => text::started(stall),
        Event::Located => text::located(stall),
        Event::Continues => return continues(stall),
        Event::Held => return held_by(stall),
        Event::Moved => return moved(stall),
        Event::Ended => text::ended(stall),
    };
    // tracing wants level and fields at compile time; the macro has the fields once.
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
                blocked_ms = millis(stall.duration),
                workers = stall.workers,
                workers_stalled = stall.workers_stalled,
                requests_in_flight = stall.requests_in_flight,
                code.function.name = stall.site.as_ref().map(|site| site.function.as_str()),
                code.file.path = stall.site.as_ref().and_then(|site| site.file.as_deref()),
                code.line.number = stall.site.as_ref().and_then(|site| site.line),
                awaits = stall.awaits.as_deref().and_then(Awaits::short),
                trace_id = stall.trace_id.map(|id| format!("{id:032x}")),
                fix = &*stall.fix,
                "{message}"
            )
        };
    }
    match (event, stall.cause.is_environment()) {
        (Event::Started, false) => write!(WARN, "stall_started"),
        (Event::Started, true) => write!(INFO, "stall_started"),
        (Event::Located, _) => write!(WARN, "stall_located"),
        (Event::Held | Event::Continues | Event::Moved | Event::Ended, _) => {
            write!(INFO, "stall_ended")
        }
    }
}

fn held_by(stall: &Stall) {
    let Some(held_by) = stall.last_held_by() else { return };
    let thread = held_by.threads.first();
    let site = thread.and_then(|thread| thread.site.as_ref());
    tracing::warn!(
        target: "tower_stall",
        event = "stall_held_by",
        stall = stall.id,
        handler = &*stall.handler,
        holder = held_by.holder.as_str(),
        degree = held_by.degree.as_str(),
        holder.thread = thread.map(|thread| thread.thread),
        holder.handler = thread.and_then(|thread| thread.handler.as_deref()),
        code.function.name = site.map(|site| site.function.as_str()),
        code.file.path = site.and_then(|site| site.file.as_deref()),
        code.line.number = site.and_then(|site| site.line),
        fix = &**stall.last_fix(),
        "{}",
        text::held_by(stall, held_by)
    );
}

fn moved(stall: &Stall) {
    let Some(later) = stall.later.last() else { return };
    let site = later.site.as_ref();
    tracing::warn!(
        target: "tower_stall",
        event = "stall_moved",
        stall = stall.id,
        handler = &*stall.handler,
        cause = later.cause.as_str(),
        detail = later.detail.as_deref(),
        blocked_ms = millis(later.after),
        code.function.name = site.map(|site| site.function.as_str()),
        code.file.path = site.and_then(|site| site.file.as_deref()),
        code.line.number = site.and_then(|site| site.line),
        fix = &*later.fix,
        "{}",
        text::moved(stall, later)
    );
}

fn continues(stall: &Stall) {
    macro_rules! write {
        ($level:ident) => {
            tracing::event!(
                target: "tower_stall",
                tracing::Level::$level,
                event = "stall_continues",
                stall = stall.id,
                handler = &*stall.handler,
                blocked_ms = millis(stall.duration),
                "{}",
                text::continues(stall)
            )
        };
    }
    if stall.cause.is_environment() { write!(INFO) } else { write!(WARN) }
}

/// From here on stalls of the handler are not logged one by one.
pub(super) fn holds_back(handler: &str) {
    tracing::warn!(
        target: "tower_stall",
        event = "stalls_held_back",
        handler,
        "{}",
        text::holds_back(handler, MOST_OF_ONE, MOST, TOLD_AFTER)
    );
}

/// Stalls of the last minute that were not logged one by one: of that handler, or of so many others.
pub(super) fn summed_up(whose: Result<&str, usize>, sum: &HeldBack) {
    let Some(longest) = &sum.longest else { return };
    let site = longest.site.as_ref();
    let (handler, others) = (whose.ok(), whose.err());
    let whose = whose.map_or_else(|others| format!("{others} more handlers"), str::to_owned);
    let told = text::StallSum {
        whose: &whose,
        stalls: sum.stalls,
        time: sum.time,
        longest: (longest.id, longest.time),
        cause: longest.cause,
        site,
    };
    tracing::warn!(
        target: "tower_stall",
        event = "stalls_summed_up",
        handler,
        handlers = others,
        stalls = sum.stalls,
        blocked_ms = millis(sum.time),
        longest = longest.id,
        longest_ms = millis(longest.time),
        cause = longest.cause.as_str(),
        code.function.name = site.map(|site| site.function.as_str()),
        code.file.path = site.and_then(|site| site.file.as_deref()),
        code.line.number = site.and_then(|site| site.line),
        "{told}"
    );
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn stack(stall: &Stall) {
    let Some(stack) = &stall.stack else { return };
    tracing::debug!(
        target: "tower_stall",
        event = "stall_stack",
        stall = stall.id,
        stack = on_one_line(stack),
        "the stack of stall {}", stall.id
    );
}

/// Kubernetes keeps the last 2048 bytes of the log of a container that ends: the whole line fits.
const LONGEST_STACK: usize = 800;

pub(super) fn dead(runtime: &str, frozen: Nanos, stall: Option<&Stall>, suppressed: u64) {
    let site = stall.and_then(|stall| stall.site.as_ref());
    let stack = stall.and_then(|stall| stall.stack.as_ref()).map(|stack| {
        let stack = on_one_line(stack);
        match stack.char_indices().nth(LONGEST_STACK) {
            Some((end, _)) => format!("{}…", &stack[..end]),
            None => stack,
        }
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
        suppressed,
        fix = stall.map(|stall| &*stall.fix),
        stack,
        "runtime {runtime:?} is dead, frozen for {}: {why}",
        human_nanos(frozen)
    );
}

/// The frames on one line.
fn on_one_line(stack: &Stack) -> String {
    printable(stack.to_string().trim_end().replace('\n', " <- ").as_str()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::stall::Frame;

    #[test]
    fn a_stack_is_one_line() {
        let frame = |function: &str| {
            Arc::new(Frame { function: Some(function.into()), ..Frame::default() })
        };
        let frames = vec![frame("read"), frame("app::load\u{1b}")];
        let stack = Stack { frames, partial: true, ..Stack::default() };
        assert_eq!(on_one_line(&stack), "read <- app::load\\u{1b} <- (outer frames are missing)");
    }
}
