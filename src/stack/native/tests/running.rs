//! Threads that compute, threads on stacks of their own making, and threads that are not there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

use super::support::{
    FOREVER, Truth, ask, ask_for, ask_while, check, functions, start, symbolize, tell,
};
use crate::stack::raw::Way;
use crate::stack::sampler::DEADLINE;
use crate::stack::user_frame::site;
use crate::stack::{Capture, Sampler};
use crate::stall::StackOutcome;
use crate::sys::native::testing;

type Stop = Arc<AtomicBool>;

#[inline(never)]
fn in_spin(truth: &Sender<Truth>, stop: &Stop) {
    tell(truth);
    spin(stop);
}

fn spin(stop: &Stop) {
    while !stop.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
}

#[test]
fn a_thread_that_computes_is_captured_by_a_signal_if_that_is_allowed() {
    let _signals = testing::signals();
    let stop = Stop::default();
    let own = Arc::clone(&stop);
    let (thread, truth) = start(move |truth| in_spin(truth, &own));
    let auto = Sampler::spawn(Capture::Auto, Arc::default()).expect("a thread");
    for _ in 0..5 {
        let (captured, stack) = ask_for(&auto, truth.thread, Way::Signal);
        check(&stack, &truth, "in_spin");
        assert_eq!(captured.outcome, StackOutcome::Ok);
        let named = symbolize(&stack);
        assert!(site(&named.frames).is_err(), "this crate is never the user's own");
    }
    let quiet = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    let captured = ask(&quiet, truth.thread);
    assert_eq!((captured.outcome, captured.stack.is_none()), (StackOutcome::Failed, true));
    assert_eq!(captured.reason, "on the CPU, and signals are off");
    stop.store(true, Ordering::Release);
    thread.join().expect("it ends well");
    for sampler in [auto, quiet] {
        assert_eq!(sampler.end(FOREVER), Ok(()));
    }
}

#[inline(never)]
fn in_small_reads(truth: &Sender<Truth>, stop: &Stop, mut pipe: &std::os::unix::net::UnixStream) {
    use std::io::{Read, Write};

    tell(truth);
    while !stop.load(Ordering::Acquire) {
        pipe.write_all(&[1]).expect("it is read");
        pipe.read_exact(&mut [0]).expect("it is answered");
    }
}

/// How long threads of this process were ready to run and others had the CPU.
fn waited_for_cpu() -> std::time::Duration {
    let of_thread = |thread: std::fs::DirEntry| {
        let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        times.split(' ').nth(1)?.parse::<u64>().ok()
    };
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux has it");
    std::time::Duration::from_nanos(threads.flatten().filter_map(of_thread).sum())
}

/// As one that reads a large file, or from a fast peer, in small pieces.
#[test]
fn a_thread_that_waits_and_runs_by_turns_is_captured_too() {
    let _signals = testing::signals();
    let stop = Stop::default();
    let own = Arc::clone(&stop);
    let (near, far) = std::os::unix::net::UnixStream::pair().expect("a pair");
    let echo = std::thread::spawn(move || {
        let mut to = far.try_clone().expect("a descriptor");
        std::io::copy(&mut &far, &mut to).map(drop)
    });
    let (thread, truth) = start(move |truth| in_small_reads(truth, &own, &near));
    let auto = Sampler::spawn(Capture::Auto, Arc::default()).expect("a thread");
    let mut taken = 0;
    while taken < 50 {
        let before = waited_for_cpu();
        let captured = ask(&auto, truth.thread);
        // It says where it is only while it runs, and those run that ask.
        if captured.stack.is_none() && waited_for_cpu().saturating_sub(before) > DEADLINE / 2 {
            continue;
        }
        check(&captured.stack.expect(captured.reason), &truth, "in_small_reads");
        taken += 1;
    }
    stop.store(true, Ordering::Release);
    thread.join().expect("it ends well");
    assert_eq!(auto.end(FOREVER), Ok(()));
    drop(echo.join().expect("no panic"));
}

#[inline(never)]
fn in_segment(truth: &Sender<Truth>, stop: &Stop, spins: bool) {
    tell(truth);
    if spins {
        spin(stop);
    }
    while !stop.load(Ordering::Acquire) {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn stacks_that_are_not_the_threads_own_have_their_inner_frames() {
    let _signals = testing::signals();
    for way in [Way::Signal, Way::Quiet] {
        let stop = Stop::default();
        let own = Arc::clone(&stop);
        let (thread, truth) = start(move |truth| {
            stacker::grow(256 * 1024, || in_segment(truth, &own, way == Way::Signal));
        });
        let sampler = Sampler::spawn(Capture::Auto, Arc::default()).expect("a thread");
        for _ in 0..20 {
            let (captured, stack) = ask_for(&sampler, truth.thread, way);
            let names = functions(&stack);
            assert!(names.iter().any(|name| name.ends_with("in_segment")), "{names:#?}");
            assert_eq!(captured.outcome, StackOutcome::Partial, "{names:#?}");
        }
        stop.store(true, Ordering::Release);
        thread.join().expect("it ends well");
    }
}

#[test]
fn a_thread_that_is_not_there_or_has_gone_on_has_no_stack() {
    let sampler = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    let (thread, truth) = start(tell);
    thread.join().expect("it ends");
    for gone in [truth.thread, 0, 1, u32::MAX] {
        let captured = ask(&sampler, gone);
        assert_eq!(captured.outcome, StackOutcome::Failed, "{}", captured.reason);
        assert!(captured.stack.is_none() && !captured.reason.is_empty());
    }
    let stop = Stop::default();
    let own = Arc::clone(&stop);
    let (thread, truth) = start(move |truth| in_spin(truth, &own));
    let captured = ask_while(&sampler, truth.thread, || false);
    assert_eq!((captured.outcome, captured.reason), (StackOutcome::Failed, "the poll has ended"));
    stop.store(true, Ordering::Release);
    thread.join().expect("it ends well");
}

#[test]
fn a_capturer_that_is_stuck_refuses_questions_and_is_left_behind() {
    let sampler = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (enter, entered) = std::sync::mpsc::channel();
    let held = Arc::new(std::sync::Mutex::new(held));
    let job = || {
        let (held, enter) = (Arc::clone(&held), enter.clone());
        let done = move |_| {
            let _listening = enter.send(());
            let _released = crate::sync::lock(&held).recv();
        };
        crate::stack::inbox::StackRequest {
            thread: 0,
            still: Box::new(|| true),
            done: Box::new(done),
        }
    };
    assert!(sampler.ask(job()).is_ok());
    entered.recv_timeout(FOREVER).expect("the thread is stuck now");
    let accepted = (0..1000).take_while(|_| sampler.ask(job()).is_ok()).count();
    assert!((1..1000).contains(&accepted));
    let little = std::time::Duration::from_millis(1);
    assert_eq!(sampler.end(little), Err("stall-capture"));
    drop(release);
}
