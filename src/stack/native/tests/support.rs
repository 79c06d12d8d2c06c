//! Threads that tell what their stack is, and questions about them.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::stack::inbox::StackRequest;
use crate::stack::native::Names;
use crate::stack::raw::{Captured, RawStack, Way};
use crate::stack::sampler::DEADLINE;
use crate::stack::user_frame::OwnCode;
use crate::stack::{Capture, Sampler};
use crate::stall::StackOutcome;
use crate::stall::{Frame, Stack};
use crate::sync::lock;
use crate::sys::thread_id;

/// Much longer than anything here takes.
pub(super) const FOREVER: Duration = Duration::from_secs(60);
const _: () = assert!(FOREVER.as_millis() > 100 * DEADLINE.as_millis());

/// What a thread says of itself.
#[derive(Clone, Debug)]
pub(super) struct Truth {
    pub(super) thread: u32,
    /// The return addresses of the function that said so and of all that are further out.
    pub(super) outer: Vec<u64>,
}

/// Tells the truth about the caller.
#[inline(never)]
pub(super) fn tell(whom: &Sender<Truth>) {
    whom.send(truth()).expect("somebody listens");
    std::hint::black_box(());
}

#[inline(never)]
fn truth() -> Truth {
    let mut outer = Vec::new();
    let mut seen = false;
    let own = tell as *const () as u64;
    backtrace::trace(|frame| {
        // The root's own caller is nobody.
        if seen && !frame.ip().is_null() {
            outer.push(frame.ip() as u64);
        }
        seen |= frame.symbol_address() as u64 == own;
        true
    });
    assert!(outer.len() > 2, "{outer:x?}");
    // The first is where the caller has called `tell`.
    outer.remove(0);
    Truth { thread: thread_id(), outer }
}

/// Asks and waits for the answer.
pub(super) fn ask(sampler: &Sampler, thread: u32) -> Captured {
    ask_while(sampler, thread, || true)
}

pub(super) fn ask_while(
    sampler: &Sampler,
    thread: u32,
    still: impl Fn() -> bool + Send + 'static,
) -> Captured {
    let (tell, told) = channel();
    let done = move |captured| tell.send(captured).expect("the test waits");
    let job = StackRequest { thread, still: Box::new(still), done: Box::new(done) };
    assert!(sampler.ask(job).is_ok(), "the queue has room");
    told.recv_timeout(FOREVER).expect("an answer")
}

/// Asks until the stack was taken that way.
pub(super) fn ask_for(sampler: &Sampler, thread: u32, way: Way) -> (Captured, RawStack) {
    for _ in 0..10_000 {
        let captured = ask(sampler, thread);
        match &captured.stack {
            Some(stack) if stack.way == way => {
                let stack = stack.clone();
                return (captured, stack);
            }
            // It does the other thing at the moment.
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    panic!("never captured by {way:?}: {:?}", ask(sampler, thread));
}

/// The stack with names. All tests remember them together: reading debug information takes long in
/// a build that is not optimized.
pub(super) fn symbolize(stack: &RawStack) -> Stack {
    static SYMBOLS: Mutex<Option<Names>> = Mutex::new(None);
    let mut symbols = lock(&SYMBOLS);
    symbols
        .get_or_insert_with(|| {
            Names::new(
                crate::stack::mode::Symbols::Auto,
                OwnCode::default(),
                std::sync::Arc::default(),
            )
        })
        .symbolize(stack, |_| true)
        .0
}

/// The names of all functions, innermost first.
pub(super) fn functions(stack: &RawStack) -> Vec<String> {
    let name =
        |frame: &std::sync::Arc<Frame>| frame.function.clone().unwrap_or_else(|| frame.to_string());
    symbolize(stack).frames.iter().map(name).collect()
}

/// Fails unless the stack goes from somewhere within the function `name` to the root of the
/// thread, as the thread said.
#[track_caller]
pub(super) fn check(stack: &RawStack, truth: &Truth, name: &str) {
    let names = functions(stack);
    let addresses: Vec<u64> = stack.frames.iter().map(|code| code.address).collect();
    assert!(addresses.ends_with(&truth.outer), "{names:#?}\n{addresses:x?}\n{truth:x?}");
    let mut inner = stack.clone();
    inner.frames.truncate(addresses.len() - truth.outer.len());
    let inner = functions(&inner);
    // Newer compilers name what a generic function was made for.
    let generic = format!("{name}::<");
    let is_it = |function: &String| function.ends_with(name) || function.contains(&generic);
    assert!(inner.last().is_some_and(is_it), "{name}: {names:#?}");
}

/// Whether a panic was on its way up. Where the unwinder of the thread itself prepares to land, it
/// has written the registers of the frame it goes to over those of its callers: frames in between
/// are gone already, for everyone who looks.
pub(super) fn unwinds(stack: &RawStack) -> bool {
    functions(stack).iter().any(|function| function.starts_with("_Unwind_"))
}

/// Starts `run` on a thread of its own and returns when it has told the truth.
pub(super) fn start(
    run: impl FnOnce(&Sender<Truth>) + Send + 'static,
) -> (std::thread::JoinHandle<()>, Truth) {
    let (tell, told): (_, Receiver<Truth>) = channel();
    let thread = std::thread::spawn(move || run(&tell));
    (thread, told.recv_timeout(FOREVER).expect("the truth"))
}

/// Captures what `run` waits for in the function `name`, some times, then has it end.
pub(super) fn captured_quietly(
    name: &str,
    run: impl FnOnce(&Sender<Truth>) + Send + 'static,
    release: impl FnOnce(),
) {
    let sampler = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    let (thread, truth) = start(run);
    for _ in 0..20 {
        let (captured, stack) = ask_for(&sampler, truth.thread, Way::Quiet);
        check(&stack, &truth, name);
        assert_eq!((captured.outcome, captured.reason), (StackOutcome::Ok, ""));
        assert_eq!((stack.thread, stack.partial), (truth.thread, false));
    }
    release();
    thread.join().expect("it ends well");
    assert_eq!(sampler.end(FOREVER), Ok(()));
}

/// Whether this is a process for that test alone. Else it has run in one, and passed: it would not do beside threads
/// of others.
#[track_caller]
pub(super) fn is_alone(test: &str) -> bool {
    const ALONE: &str = "STALL_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let mut process = std::process::Command::new(std::env::current_exe().expect("this program"));
    let name = format!("stack::native::tests::{test}");
    let ran = process.args(["--exact", &name, "--nocapture"]).env(ALONE, "1").output();
    let ran = ran.expect("it is started");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success() && said.contains("1 passed"), "{ran:#?}");
    false
}
