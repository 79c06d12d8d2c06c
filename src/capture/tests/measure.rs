//! What a capture takes, and what it takes from the thread. To be read, not to pass:
//! `cargo test --release --lib measure -- --ignored --nocapture`.

use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::support::{FOREVER, Truth, start, tell};
use crate::capture::images::Images;
use crate::capture::state::State;
use crate::capture::take::Taker;
use crate::capture::task::Task;
use crate::capture::unwind::{Snapshot, walk};
use crate::capture::{Capture, Symbols, Way};
use crate::clock::{nanos, now};
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::sys::memory::copy;
use crate::sys::signal::LONGEST_STACK;
use crate::sys::testing;

const ROUNDS: usize = 1000;

/// Prints median, 99th percentile and maximum, in microseconds.
fn print(what: &str, mut times: Vec<u64>) {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100] as f64 / 1e3;
    println!("{what}: median {:.1} µs, p99 {:.1} µs, max {:.1} µs", at(50), at(99), at(100));
}

fn time(run: impl FnOnce()) -> u64 {
    let begin = now();
    run();
    now() - begin
}

#[inline(never)]
fn in_watched_spin(truth: &Sender<Truth>, gap: &AtomicU64, stop: &AtomicBool) {
    tell(truth);
    let mut last = now();
    while !stop.load(Ordering::Relaxed) {
        let new = now();
        gap.fetch_max(new - last, Ordering::Relaxed);
        last = new;
    }
}

#[test]
#[ignore = "prints"]
fn measure_a_signal() {
    let _signals = testing::signals();
    let (gap, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (own_gap, own_stop) = (Arc::clone(&gap), Arc::clone(&stop));
    let (thread, truth) = start(move |truth| in_watched_spin(truth, &own_gap, &own_stop));
    let mut taker = Taker::new(Capture::Auto);
    let (mut idle, mut paused, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        gap.store(0, Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(1));
        idle.push(gap.swap(0, Ordering::Relaxed));
        let begin = now();
        let captured = taker.take(truth.thread, &|| true, begin + nanos(FOREVER));
        taken.push(now() - begin);
        std::thread::sleep(Duration::from_micros(100));
        if captured.stack.is_some_and(|stack| stack.way == Way::Signal) {
            paused.push(gap.load(Ordering::Relaxed));
        }
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("it ends well");
    print("longest pause of a spinning thread in 1 ms without capture", idle);
    print("longest pause of a spinning thread around a capture by signal", paused);
    print("a capture by signal, with unwinding", taken);
}

#[inline(never)]
fn in_long_sleep(truth: &Sender<Truth>, stop: &AtomicBool) {
    tell(truth);
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(500));
    }
}

#[test]
#[ignore = "prints"]
fn measure_a_quiet_capture() {
    let stop = Arc::new(AtomicBool::new(false));
    let own_stop = Arc::clone(&stop);
    let (thread, truth) = start(move |truth| in_long_sleep(truth, &own_stop));
    let mut taker = Taker::new(Capture::NoSignal);
    let mut symbols = Symbols::default();
    let begin = now();
    let first = taker.take(truth.thread, &|| true, begin + nanos(FOREVER));
    println!("the first quiet capture: {:.1} µs", (now() - begin) as f64 / 1e3);
    if let Some(stack) = first.stack {
        println!("its symbols: {:.1} µs", time(|| drop(symbols.symbolize(&stack))) as f64 / 1e3);
        println!("and again: {:.1} µs", time(|| drop(symbols.symbolize(&stack))) as f64 / 1e3);
    }
    let deadline = || now() + nanos(FOREVER);
    let take = |_| time(|| drop(taker.take(truth.thread, &|| true, deadline())));
    print("a quiet capture", (0..ROUNDS).map(take).collect());

    let mut images = Images::default();
    let mut stack = vec![0; LONGEST_STACK];
    let (mut looks, mut copies, mut walks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        images.refresh();
        let mut state = None;
        looks.push(time(|| {
            state = Task::open(truth.thread).ok().and_then(|task| task.look().ok());
        }));
        let Some((State::Waiting { sp, ip }, _)) = state else { continue };
        let mut copied = 0;
        copies.push(time(|| copied = copy(sp, &mut stack)));
        let snapshot = Snapshot { ip, sp, bp: None, stack: &stack[..copied] };
        walks.push(time(|| drop(walk(&mut images, snapshot))));
    }
    stop.store(true, Ordering::Relaxed);
    thread.join().expect("it ends well");
    print("  of it, opening and reading the files", looks);
    print("  of it, the copy", copies);
    print("  of it, unwinding with the search for rbp", walks);
}
