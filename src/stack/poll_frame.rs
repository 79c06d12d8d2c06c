//! Recognizes the stack of a worker in a poll.

use std::sync::Arc;

use crate::stall::{Frame, Stack, crate_of};

/// Modules of the schedulers that run tasks: of multi-thread and of current-thread runtimes.
const SCHEDULERS: [&str; 2] = [
    "tokio::runtime::scheduler::multi_thread::worker",
    "tokio::runtime::scheduler::current_thread",
];
/// The function there that runs a task.
const RUNS_TASK: &str = "run_task";
/// The function that calls it, which it may be inlined into.
const RUNS_TASKS: &str = "run";
/// The function there that drives a current-thread runtime and polls its root future.
const DRIVES: &str = "block_on";
/// The function around each poll of a root future.
const ENTERS: &str = "enter";
/// The functions in which a current-thread runtime waits when there is nothing to poll.
const PARKS: &str = "park";
/// Functions that hand the worker over to another thread during a call. Users' of that name do no harm:
/// nothing is proven then.
const GIVES_AWAY: [&str; 2] = ["block_in_place", "exit_runtime"];
/// Where polls of tasks begin.
const TASKS: &str = "tokio::runtime::task";
/// What a scheduler has between itself and the poll, beside its own closures.
const BETWEEN: [&str; 4] = ["tokio", "std", "core", "alloc"];

/// The address that the poll returns to which the thread is in. `single`: of a current-thread runtime.
///
/// # Errors
///
/// The stack is not that of a worker in a poll, or does not show it.
pub(crate) fn poll_returns_to(stack: &Stack, single: bool) -> Result<u64, &'static str> {
    let frames = Scheduler { frames: &stack.frames, module: SCHEDULERS[usize::from(single)] };
    let task = frames.first(|name| name == RUNS_TASK);
    let Some(runs) = task.or_else(|| frames.enters_root().filter(|_| single)) else {
        return Err(match stack.partial {
            true => "outer frames are missing",
            false => "the thread is in no poll of the runtime",
        });
    };
    let at = frames.innermost_closure(runs);
    let (inner, outer) = stack.frames.split_at(at);
    let frame = &outer[0];
    if frame.file.is_none() || inner.iter().any(|inlines| hides_inlined(inlines, frame)) {
        return Err("without debug information inlined functions do not show");
    }
    if inner.iter().chain([frame]).any(|frame| frame.guessed) {
        return Err("a part of the stack is guessed");
    }
    if gives_away(inner) {
        return Err("the thread has given its worker away");
    }
    if single && !outer.iter().any(|frame| frames.has(frame, |name| name == DRIVES)) {
        return Err("nobody drives the runtime");
    }
    Ok(frame.address)
}

/// Whether one of the frames has handed its worker over to another thread.
pub(super) fn gives_away(frames: &[Arc<Frame>]) -> bool {
    frames.iter().any(|frame| GIVES_AWAY.contains(&frame.name()))
}

/// Whether a frame, of which the symbol alone is known, is of a function that runs polls on such a runtime.
pub(super) fn runs_polls(frame: &Frame, single: bool) -> bool {
    let scheduler = Scheduler { frames: &[], module: SCHEDULERS[usize::from(single)] };
    let runs = [RUNS_TASK, RUNS_TASKS, DRIVES, ENTERS];
    scheduler.has(frame, |name| runs.contains(&name))
}

/// Whether functions may be inlined into this one that do not show: Rust code of the same module without
/// debug information, where others have some.
fn hides_inlined(frame: &Frame, with_file: &Frame) -> bool {
    let is_rust = frame.function.as_deref().is_none_or(|function| crate_of(function).is_some());
    is_rust && frame.file.is_none() && frame.module == with_file.module
}

/// The frames of a stack, and a module of the scheduler.
#[derive(Clone, Copy)]
struct Scheduler<'a> {
    frames: &'a [Arc<Frame>],
    module: &'a str,
}

impl Scheduler<'_> {
    /// Whether a frame is of a function of the scheduler, whose name fits.
    fn has(self, frame: &Frame, fits: impl Fn(&str) -> bool) -> bool {
        fits(frame.name()) && frame.code_path().is_in(self.module)
    }

    fn first(self, fits: impl Fn(&str) -> bool) -> Option<usize> {
        self.frames.iter().position(|frame| self.has(frame, &fits))
    }

    /// The frame in which the runtime is entered to poll its root future. Where a thread polls one
    /// without driving the runtime, there is none.
    fn enters_root(self) -> Option<usize> {
        if self.first(|name| name.starts_with(PARKS)).is_some() {
            return None;
        }
        let symbol =
            |frame: &&Arc<Frame>| self.has(frame, |name| name == DRIVES) && frame.is_closure();
        let by_symbol = self.frames.iter().position(|frame| symbol(&frame));
        by_symbol.or_else(|| self.first(|name| name == ENTERS))
    }

    /// The closure of the scheduler that polls: the innermost that is reached from the frame `runs`
    /// without leaving Tokio or entering a poll. Without one it is `runs` itself.
    ///
    /// It may be inlined somewhere else than into the function it is written in, and a worker polls
    /// several tasks before it returns to that.
    fn innermost_closure(self, runs: usize) -> usize {
        let mut closure = runs;
        for at in (0..runs).rev() {
            let frame = &self.frames[at];
            let path = frame.code_path();
            let is_between = BETWEEN.iter().any(|module| path.is_in(module));
            if !is_between || path.is_in(TASKS) || frame.name().starts_with("poll") {
                break;
            }
            if frame.is_closure() && path.is_in(self.module) {
                closure = at;
            }
        }
        closure
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const SLEEP: &str = "std::thread::sleep";
    const POLL: &str = "<app::task::{{closure}} as core::future::future::Future>::poll";
    const RUN: &str = "tokio::runtime::scheduler::multi_thread::worker::Context::run_task";
    const CLOSURE: &str =
        "tokio::runtime::scheduler::multi_thread::worker::Context::run_task::{{closure}}";
    const IN_PLACE: &str = "tokio::task::blocking::block_in_place";
    const RUN_SINGLE: &str = "tokio::runtime::scheduler::current_thread::Context::run_task";
    const DRIVE: &str =
        "tokio::runtime::scheduler::current_thread::CoreGuard::block_on::{{closure}}";
    /// As line tables have inlined functions.
    const TABLES_POLL: &str = "poll<app::f::{async_block_env#0}> at runtime/task/core.rs";
    const TABLES_CLOSURE: &str = "{closure#0} at runtime/scheduler/multi_thread/worker.rs";
    const TABLES_BUDGET: &str = "budget<(), tokio::runtime::scheduler::multi_thread::worker::{impl#1}::run_task::{closure_env#0}> at task/coop/mod.rs";
    const TABLES_RUN: &str = "run_task at runtime/scheduler/multi_thread/worker.rs";
    const TABLES_WORKER: &str = "tokio::runtime::scheduler::multi_thread::worker::Context::run";

    /// Frames of functions, or of functions and files of Tokio.
    fn stack(functions: &[&str]) -> Stack {
        let frame = |(at, text): (usize, &&str)| {
            let (function, file) = text.split_once(" at ").unwrap_or((text, ""));
            let file = match file {
                "" => "worker.rs".to_owned(),
                file => format!("/cargo/registry/src/index-1/tokio-1.54.1/src/{file}"),
            };
            Arc::new(Frame {
                function: Some(function.to_owned()),
                file: Some(file),
                address: at as u64,
                ..Frame::default()
            })
        };
        Stack { frames: functions.iter().enumerate().map(frame).collect(), ..Stack::default() }
    }

    #[test]
    fn a_poll_returns_into_what_runs_the_task() {
        assert_eq!(poll_returns_to(&stack(&[SLEEP, POLL, RUN]), false), Ok(2));
        assert_eq!(poll_returns_to(&stack(&[SLEEP, POLL, CLOSURE, RUN]), false), Ok(2));
        assert_eq!(poll_returns_to(&stack(&[SLEEP, POLL, RUN_SINGLE, DRIVE]), true), Ok(2));
    }

    #[test]
    fn line_tables_show_it_too() {
        let run = [SLEEP, "{async_block#0}", TABLES_POLL, TABLES_CLOSURE, TABLES_BUDGET];
        let run = [&run[..], &[TABLES_RUN, TABLES_WORKER]].concat();
        assert_eq!(poll_returns_to(&stack(&run), false), Ok(3), "into the closure, as ever");
        let whole = [SLEEP, "{async_block#0}", TABLES_POLL, TABLES_CLOSURE, TABLES_BUDGET, RUN];
        assert_eq!(poll_returns_to(&stack(&whole), false), Ok(3));
        for gives in [
            "block_in_place<app::f::{closure_env#1}, ()> at task/blocking.rs",
            "exit_runtime<app::f::{closure_env#1}, ()> at runtime/context/runtime_mt.rs",
        ] {
            let given = [&[SLEEP, gives], &run[1..]].concat();
            let why = "the thread has given its worker away";
            assert_eq!(poll_returns_to(&stack(&given), false), Err(why));
        }
        // What belongs to the poll and was inlined from the same file is not it.
        let schedules = [&[SLEEP, TABLES_CLOSURE, "schedule"], &run[1..]].concat();
        assert_eq!(poll_returns_to(&stack(&schedules), false), Ok(5));
        let elsewhere = [SLEEP, "run_task at runtime/blocking/pool.rs"];
        assert!(poll_returns_to(&stack(&elsewhere), false).is_err());
    }

    #[test]
    fn line_tables_show_the_poll_of_a_root_future_too() {
        const FILE: &str = "runtime/scheduler/current_thread/mod.rs";
        let [closure, enter, drive, park] = [
            "{closure#0}<app::main::{async_block_env#0}>",
            "enter<()>",
            "block_on<F>",
            "park_internal",
        ]
        .map(|name| format!("{name} at {FILE}"));
        let budget = "budget<(), F> at task/coop/mod.rs";
        let root = [SLEEP, "{async_block#0}", &closure, budget, &closure, &enter, &closure, &drive];
        assert_eq!(poll_returns_to(&stack(&root), true), Ok(2));
        let parked = ["epoll_wait", &park, &enter, &closure, &drive];
        assert!(poll_returns_to(&stack(&parked), true).is_err());
        // Another thread drives the runtime.
        let waits = [SLEEP, "{async_block#0}", &closure, "poll<F> at future.rs", &closure, &drive];
        assert!(poll_returns_to(&stack(&waits), true).is_err());
        assert!(poll_returns_to(&stack(&root[..6]), true).is_err(), "nobody drives it");
    }

    #[test]
    fn a_root_future_is_polled_by_what_drives_its_runtime() {
        let enter = "tokio::runtime::scheduler::current_thread::Context::enter";
        assert_eq!(
            poll_returns_to(&stack(&[SLEEP, "app::main", DRIVE, enter, DRIVE]), true),
            Ok(2)
        );
        let park = "tokio::runtime::scheduler::current_thread::Context::park_internal";
        assert!(poll_returns_to(&stack(&["epoll_wait", enter, park, DRIVE]), true).is_err());
        assert!(poll_returns_to(&stack(&[SLEEP, "app::main", DRIVE]), false).is_err());
    }

    #[test]
    fn a_thread_that_holds_no_worker_is_in_no_poll() {
        for functions in [
            &[SLEEP, IN_PLACE, POLL, RUN][..],
            &[SLEEP, "tokio::runtime::context::runtime_mt::exit_runtime", POLL, RUN],
            &[SLEEP, "tokio::runtime::blocking::pool::Inner::run"],
            &[SLEEP, POLL, RUN_SINGLE, DRIVE],
        ] {
            assert!(poll_returns_to(&stack(functions), false).is_err(), "{functions:?}");
        }
        assert!(poll_returns_to(&stack(&[SLEEP, POLL, RUN_SINGLE]), true).is_err());
        assert!(poll_returns_to(&stack(&[SLEEP, POLL, RUN]), true).is_err());
    }

    #[test]
    fn what_does_not_show_proves_nothing() {
        let mut bare = stack(&[SLEEP, POLL, RUN]);
        bare.frames.iter_mut().for_each(|frame| Arc::make_mut(frame).file = None);
        assert!(poll_returns_to(&bare, false).is_err());
        let mut hidden = stack(&[SLEEP, "app::helper", POLL, RUN]);
        Arc::make_mut(&mut hidden.frames[1]).file = None;
        assert!(poll_returns_to(&hidden, false).is_err(), "it may have block_in_place in it");
        Arc::make_mut(&mut hidden.frames[1]).function = Some("memcpy".into());
        assert!(poll_returns_to(&hidden, false).is_ok());
        let mut guessed = stack(&[SLEEP, POLL, RUN]);
        Arc::make_mut(&mut guessed.frames[1]).guessed = true;
        assert!(poll_returns_to(&guessed, false).is_err());
        let partial = Stack { partial: true, ..stack(&[SLEEP, POLL]) };
        assert_eq!(poll_returns_to(&partial, false), Err("outer frames are missing"));
    }
}
