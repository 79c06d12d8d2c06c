//! What blocks, and how a test that fails is looked at.

use std::any::Any;
use std::future::Future;
use std::hint::spin_loop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::support::{LIMIT, runtime};

/// What a test forbids here.
pub(crate) const THRESHOLD: Duration = Duration::from_millis(50);
/// What is a stall even where the machine stands still for a while.
pub(crate) const LONG: Duration = Duration::from_secs(3);
/// How it is told: for how long a sleep was asked for comes with the stack.
pub(crate) const SLEPT: &str =
    if STACKS { ": sleep (clock_nanosleep, 3 s" } else { ": sleep (clock_nanosleep" };

/// The lines of what blocks, as the messages have them.
pub(crate) const SLEEPS: (&str, u32) = ("testing::blocks::sleeps", line!() + 4);

#[inline(never)]
pub(crate) fn sleeps() {
    std::thread::sleep(LONG);
    std::hint::black_box(());
}

pub(crate) const SPINS: &str = "testing::blocks::spins";

#[inline(never)]
pub(crate) fn spins() {
    let start = Instant::now();
    while start.elapsed() < LONG {
        spin_loop();
    }
}

/// Runs a future as `#[tokio::test]` does and returns what it panics with.
#[track_caller]
pub(crate) fn failure<F: Future>(runtime: &Runtime, future: F) -> String {
    match run(runtime, future) {
        Err(text) => text,
        Ok(_) => panic!("it did not fail"),
    }
}

/// The same where the message has a stack: on a busy machine not each is taken in time.
#[track_caller]
pub(crate) fn failure_with_stack<F: Future>(runtime: &Runtime, future: impl Fn() -> F) -> String {
    for _ in 0..10 {
        let text = failure(runtime, future());
        if !STACKS || text.contains("  stack:\n") {
            return text;
        }
        eprintln!("once more:\n{text}");
    }
    panic!("never a stack");
}

pub(crate) fn run<F: Future>(runtime: &Runtime, future: F) -> Result<F::Output, String> {
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(future))).map_err(text)
}

pub(crate) fn text(panic: Box<dyn Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a text")).to_owned(),
    }
}

/// What begins a message, and each of these parts.
#[track_caller]
pub(crate) fn assert_says(text: &str, begin: &str, parts: &[&str]) {
    assert!(text.starts_with(begin), "{begin:?} does not begin\n{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

/// The part of a message that names a line.
pub(crate) fn at((function, line): (&str, u32)) -> String {
    format!("at tests/testing/{}:{line} in {function}", file(function))
}

/// `testing::blocks::sleeps` is in `blocks.rs`.
fn file(function: &str) -> String {
    format!("{}.rs", function.split("::").nth(1).expect("a module"))
}

/// A current-thread runtime whose clock stands still.
pub(crate) fn paused() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().expect("a runtime")
}

/// Whether stacks are taken here.
pub(crate) const STACKS: bool = cfg!(all(
    feature = "capture",
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
));

/// Does something on both kinds of runtime, at the same time.
pub(crate) fn on_each_kind(each: impl Fn(&Runtime) + Sync) {
    std::thread::scope(|scope| {
        for workers in [0, 2] {
            let each = &each;
            scope.spawn(move || {
                let runtime = runtime(workers);
                each(&runtime);
                runtime.shutdown_timeout(LIMIT);
            });
        }
    });
}
