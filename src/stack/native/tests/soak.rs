//! Thousands of captures of threads that nap, allocate, panic, load libraries, run on stacks of
//! their own, end and are replaced.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use super::support::{Truth, ask_while, check, functions, tell, unwinds};
use crate::clock::{nanos, now};
use crate::stack::raw::RawStack;
use crate::stack::{Capture, Sampler};
use crate::stall::StackOutcome;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::sys::native::testing;

/// One thread after another: the number is odd while one of them is in its function.
#[derive(Default)]
struct Place {
    sequence: AtomicU64,
    stop: AtomicBool,
}

/// Captures, unless more are asked for by `STALL_SOAK_CAPTURES`, and how long they may take.
const ROUNDS: u32 = 500;
const SECONDS: u64 = 30;
const LIVES: u64 = 200;

/// On a stack that is not the thread's own.
#[inline(never)]
fn on_a_segment(number: u64) {
    let mut sum = number;
    for add in 0..20_000 {
        sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(add));
    }
}

/// What keeps a thread busy in between.
fn turn(number: u64) {
    match number % 6 {
        0 => std::thread::sleep(Duration::from_micros(50)),
        1 => drop(std::hint::black_box(vec![number; 10_000])),
        2 => {
            let caught = std::panic::catch_unwind(|| std::panic::resume_unwind(Box::new(number)));
            assert!(caught.is_err());
        }
        3 => drop(testing::Library::load(c"libBrokenLocale.so.1").expect("glibc has it")),
        4 => stacker::grow(64 * 1024, || on_a_segment(number)),
        _ => {
            let mut sum = number;
            for add in 0..20_000 {
                sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(add));
            }
        }
    }
}

macro_rules! workers {
    ($($name:ident),*) => {$(
        #[inline(never)]
        fn $name(truth: &Sender<Truth>, place: &Place) {
            tell(truth);
            place.sequence.fetch_add(1, Ordering::AcqRel);
            for number in 0..LIVES {
                if place.stop.load(Ordering::Acquire) {
                    break;
                }
                turn(number);
            }
            // Keeps the linker's and the compiler's hands off functions that are all alike.
            std::hint::black_box(stringify!($name));
            place.sequence.fetch_add(1, Ordering::AcqRel);
        }
    )*
        type Work = fn(&Sender<Truth>, &Place);
        const WORKERS: &[(&str, Work)] = &[$((stringify!($name), $name)),*];
    };
}

workers!(in_first, in_second, in_third, in_fourth);

#[test]
fn no_stack_is_torn_or_of_another_thread() {
    let _signals = testing::signals();
    let sampler = Sampler::spawn(Capture::Auto, Arc::default()).expect("a thread");
    let mut outcomes = [0; StackOutcome::ALL.len()];
    let mut places: Vec<_> = WORKERS.iter().map(|work| Runner::start(*work)).collect();
    let count = places.len();
    let asked = std::env::var("STALL_SOAK_CAPTURES").ok();
    let asked: Option<u32> = asked.map(|asked| asked.parse().expect("a number"));
    // On a machine that is starved every signal may run into its deadline.
    let end = now() + nanos(Duration::from_secs(SECONDS));
    let (mut turns, mut rounds, mut cut_short) = ((0..count).cycle(), 0, 0);
    while rounds < asked.unwrap_or(ROUNDS) && (asked.is_some() || now() < end) {
        let runner = &mut places[turns.next().expect("without end")];
        runner.replace_if_ended();
        let place = Arc::clone(&runner.place);
        let sequence = place.sequence.load(Ordering::Acquire);
        if sequence % 2 == 0 {
            // Its thread has not come to its function yet, or has left it.
            std::thread::yield_now();
            continue;
        }
        rounds += 1;
        let still = move || place.sequence.load(Ordering::Acquire) == sequence;
        let captured = ask_while(&sampler, runner.truth.thread, still);
        let index = StackOutcome::ALL.iter().position(|outcome| *outcome == captured.outcome);
        outcomes[index.expect("all are listed")] += 1;
        if let Some(stack) = captured.stack.filter(|stack| !unwinds(stack)) {
            if stack.partial {
                let names = functions(&stack);
                let is_on = |name: &String| SEGMENT.iter().any(|part| name.contains(part));
                check_part(&stack, &runner.truth, runner.work.0);
                if !names.iter().any(is_on) {
                    println!("cut short: {names:?} {:?}", stack.way);
                    cut_short += 1;
                }
            } else {
                check(&stack, &runner.truth, runner.work.0);
            }
        }
    }
    println!("outcomes: {:?}", StackOutcome::ALL.iter().zip(outcomes).collect::<Vec<_>>());
    println!("cut short elsewhere than on a segment: {cut_short}");
    assert!(cut_short <= rounds / 100 * MOST_CUT_SHORT, "{cut_short} of {rounds}");
    assert!(outcomes[0] > 0, "some were captured: {outcomes:?}");
}

/// Fails unless the frames of a stack that is cut short are of this thread: nobody else's function is in
/// it, and from its own function on it is what the thread said, as far as it goes.
fn check_part(stack: &RawStack, truth: &Truth, name: &str) {
    let names = functions(stack);
    let is_other = |(other, _): &&(&str, Work)| {
        *other != name && names.iter().any(|function| function.ends_with(other))
    };
    assert!(!WORKERS.iter().any(|other| is_other(&other)), "not of {name}: {names:#?}");
    let addresses: Vec<u64> = stack.frames.iter().map(|code| code.address).collect();
    let outer = |address: &u64| truth.outer.contains(address);
    if let Some(first) = addresses.iter().position(outer) {
        let fits = truth.outer.starts_with(&addresses[first..]);
        assert!(fits, "{names:#?}\n{addresses:x?}\n{truth:x?}");
    }
}

/// Stacks in a hundred that may be cut short elsewhere than on a segment. Where a call leaves its return
/// address in a register, it cannot be found of each thread that waits.
const MOST_CUT_SHORT: u32 = if cfg!(target_arch = "aarch64") { 20 } else { 0 };

/// In the names of functions that run on a stack of their own, or go there.
const SEGMENT: [&str; 4] = ["soak::on_a_segment", "soak::turn", "stacker::", "psm"];

struct Runner {
    work: (&'static str, Work),
    place: Arc<Place>,
    truth: Truth,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Runner {
    fn start(work: (&'static str, Work)) -> Self {
        let place = Arc::new(Place::default());
        let (tell, told) = channel();
        let shared = Arc::clone(&place);
        let thread = std::thread::spawn(move || work.1(&tell, &shared));
        let truth = told.recv_timeout(super::support::FOREVER).expect("the truth");
        Self { work, place, truth, thread: Some(thread) }
    }

    fn replace_if_ended(&mut self) {
        if self.thread.as_ref().is_some_and(std::thread::JoinHandle::is_finished) {
            let next = Self::start(self.work);
            drop(std::mem::replace(self, next));
        }
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.place.stop.store(true, Ordering::Release);
        if let Some(Err(panic)) = self.thread.take().map(std::thread::JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}
