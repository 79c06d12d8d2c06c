//! Recognizes the stack of a worker in a poll.

use crate::stall::{Frame, Stack};

/// Functions that run a task on a worker, of the multi-thread and of the current-thread scheduler.
const RUNS_TASK: [&str; 2] = [
    "runtime::scheduler::multi_thread::worker::Context::run_task",
    "runtime::scheduler::current_thread::Context::run_task",
];
/// The function that drives a current-thread runtime and polls its root future.
const DRIVES: &str = "runtime::scheduler::current_thread::CoreGuard::block_on";
/// The function in which a current-thread runtime waits when there is nothing to poll.
const PARKS: &str = "runtime::scheduler::current_thread::Context::park";
/// Functions that hand the worker over to another thread during a call.
const GIVES_AWAY: [&str; 2] = ["block_in_place", "runtime::context::runtime_mt::exit_runtime"];

/// The address that the poll returns to which the thread is in. `single`: of a current-thread runtime.
///
/// # Errors
///
/// The stack is not that of a worker in a poll, or does not show it.
pub(crate) fn poll_returns_to(stack: &Stack, single: bool) -> Result<u64, &'static str> {
    let has = |frame: &Frame, name: &str| {
        frame.function.as_deref().is_some_and(|function| function.contains(name))
    };
    let first = |name| stack.frames.iter().position(|frame| has(frame, name));
    let root = || first(DRIVES).filter(|_| single && first(PARKS).is_none());
    let Some(at) = first(RUNS_TASK[usize::from(single)]).or_else(root) else {
        return Err(match stack.partial {
            true => "outer frames are missing",
            false => "the thread is in no poll of the runtime",
        });
    };
    let frame = &stack.frames[at];
    if frame.file.is_none() {
        return Err("without debug information inlined functions do not show");
    }
    let inner = &stack.frames[..at];
    if inner.iter().any(|frame| GIVES_AWAY.iter().any(|gives| has(frame, gives))) {
        return Err("the thread has given its worker away");
    }
    if single && !stack.frames[at..].iter().any(|frame| has(frame, DRIVES)) {
        return Err("nobody drives the runtime");
    }
    Ok(frame.address)
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

    fn stack(functions: &[&str]) -> Stack {
        let frame = |(at, function): (usize, &&str)| {
            Arc::new(Frame {
                function: Some((*function).to_owned()),
                file: Some("worker.rs".into()),
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
        let partial = Stack { partial: true, ..stack(&[SLEEP, POLL]) };
        assert_eq!(poll_returns_to(&partial, false), Err("outer frames are missing"));
    }
}
