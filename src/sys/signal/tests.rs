//! Signals to threads that compute, and handlers of others.

use std::sync::atomic::AtomicBool;

use super::{
    Acquire, AtomicU32, PAGE, Refusal, Registers, Relaxed, Release, Signal, asker, current,
    is_ours, pages, populate,
};
use crate::sys::testing;

/// Asks as long as it takes.
fn ask(signal: &Signal, thread: u32) -> Result<Registers, Refusal> {
    let mut stack = Vec::new();
    let registers = signal.ask(
        thread,
        &mut stack,
        || true,
        || {
            std::thread::yield_now();
            true
        },
    )?;
    assert!(stack.len() > 8, "{} bytes", stack.len());
    Ok(registers)
}

fn while_another_spins(run: impl FnOnce(u32)) {
    let stop = AtomicBool::new(false);
    let thread = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            thread.store(crate::sys::thread_id(), Release);
            while !stop.load(Relaxed) {
                assert!(testing::errno_stays());
            }
        });
        while thread.load(Acquire) == 0 {
            std::thread::yield_now();
        }
        run(thread.load(Acquire));
        stop.store(true, Relaxed);
    });
}

#[test]
fn a_thread_tells_its_registers_and_keeps_its_errno() {
    let _signals = testing::signals();
    let signal = Signal::install().expect("installed");
    while_another_spins(|thread| {
        for _ in 0..1000 {
            let registers = ask(&signal, thread).expect("an answer");
            assert!(registers.ip != 0 && registers.sp != 0);
        }
    });
    assert_eq!(ask(&signal, u32::MAX >> 1), Err(Refusal::NotSent(libc::ESRCH)));
    let refused = signal.ask(crate::sys::thread_id(), &mut Vec::new(), || false, || false);
    assert_eq!(refused, Err(Refusal::NotAllowed));
}

#[test]
fn handlers_of_others_get_their_signals_and_are_put_back() {
    let _signals = testing::signals();
    for (handler, flags, counts) in testing::handlers() {
        testing::install(handler, flags);
        let before = testing::FOREIGN.load(Acquire);
        let first = Signal::install().expect("installed");
        let second = Signal::install().expect("installed");
        while_another_spins(|thread| {
            ask(&second, thread).expect("an answer");
        });
        testing::raise();
        drop(first);
        testing::raise();
        assert!(is_ours(&current()), "as long as it is used");
        drop(second);
        assert_eq!(testing::installed(), (handler, flags));
        let signals = testing::FOREIGN.load(Acquire) - before;
        assert_eq!(signals, if counts { 2 } else { 0 });
    }
}

#[test]
fn the_handler_finds_its_memory_there() {
    let _signals = testing::signals();
    let _signal = Signal::install().expect("installed");
    let (begin, length) = pages();
    let mut there = vec![0; length.div_ceil(PAGE as usize)];
    // SAFETY: there is a byte for each page.
    assert_eq!(unsafe { libc::mincore(begin, length, there.as_mut_ptr()) }, 0);
    if there.iter().any(|page| page & 1 == 0) {
        assert!(!populate(), "the system could have given it: {there:?}");
        assert!(std::env::var_os("STALL_REQUIRE_REAL").is_none(), "the kernel is older than 5.14");
        println!("skipped: the kernel is older than 5.14");
    }
}

#[test]
fn a_handler_that_replaces_ours_is_left_alone() {
    let _signals = testing::signals();
    let signal = Signal::install().expect("installed");
    let (handler, flags, _) = testing::handlers()[0];
    testing::install(handler, flags);
    while_another_spins(|thread| {
        assert_eq!(ask(&signal, thread), Err(Refusal::Replaced));
    });
    drop(signal);
    assert_eq!(testing::installed(), (handler, flags));
    testing::install(libc::SIG_DFL, 0);
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    let _signals = testing::signals();
    let (handler, flags, _) = testing::handlers()[0];
    testing::install(handler, flags);
    let signal = Signal::install().expect("installed");
    let before = testing::FOREIGN.load(Acquire);
    let (thread, unblock) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            testing::block_signal(true);
            thread.store(crate::sys::thread_id(), Release);
            while !unblock.load(Acquire) {
                std::thread::yield_now();
            }
            testing::block_signal(false);
        });
        while thread.load(Acquire) == 0 {
            std::thread::yield_now();
        }
        let refused = signal.ask(thread.load(Acquire), &mut Vec::new(), || true, || false);
        assert_eq!(refused, Err(Refusal::NoAnswer));
        assert_eq!(asker().silent.len(), 1, "it lives");
        unblock.store(true, Release);
    });
    // The signal has come, to a handler that knew it and did nothing.
    while_another_spins(|thread| {
        ask(&signal, thread).expect("an answer");
    });
    drop(signal);
    assert_eq!(testing::FOREIGN.load(Acquire), before);
    assert_eq!(testing::installed(), (handler, flags));
    testing::install(libc::SIG_DFL, 0);
}
