//! Signals to threads that compute, and handlers of others.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32};

use super::timer::sends_on_return;
use super::{
    Acquire, By, NotSent, PAGE, Refusal, Registers, Relaxed, Release, SIGNAL, Signal, asker,
    current, is_ours, pages, populate,
};
use crate::sys::native::testing;

fn is_pending(thread: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/self/task/{thread}/status"));
    let status = status.unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("SigPnd:"));
    let pending = pending.and_then(|signals| u64::from_str_radix(signals.trim(), 16).ok());
    pending.is_some_and(|signals| signals & (1 << (SIGNAL - 1)) != 0)
}

const BY_HAND: By<'static> = By::Us(&|| true);

/// Who can send signals here.
fn ways() -> Vec<By<'static>> {
    let all = vec![BY_HAND, By::Timer];
    if sends_on_return() {
        return all;
    }
    assert!(std::env::var_os("STALL_REQUIRE_REAL").is_none(), "the kernel is older than 5.9");
    println!("skipped: the kernel is older than 5.9");
    vec![BY_HAND]
}

/// Asks, with plenty of time.
fn ask(signal: &Signal, thread: u32, by: By<'_>) -> Result<Registers, Refusal> {
    let mut stack = Vec::new();
    let mut left = 1_000_000;
    let wait = |_| {
        std::thread::sleep(std::time::Duration::from_micros(50));
        left -= 1;
        left > 0
    };
    let registers = signal.ask(thread, &mut stack, by, wait)?;
    assert!(stack.len() > 8, "{} bytes", stack.len());
    Ok(registers)
}

/// Runs `run` while another thread does `work` again and again.
fn while_another(work: impl Fn() + Sync, run: impl FnOnce(u32)) {
    let stop = AtomicBool::new(false);
    let thread = AtomicU32::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            thread.store(crate::sys::thread_id(), Release);
            while !stop.load(Relaxed) {
                work();
            }
        });
        // Also where `run` panics: the scope waits for the other thread.
        let _stops = Stops(&stop);
        while thread.load(Acquire) == 0 {
            std::thread::yield_now();
        }
        run(thread.load(Acquire));
    });
}

struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn while_another_spins(run: impl FnOnce(u32)) {
    while_another(|| assert!(testing::errno_stays()), run);
}

#[test]
fn a_thread_tells_its_registers_and_keeps_its_errno() {
    let _signals = testing::signals();
    let signal = Signal::install(is_pending).expect("installed");
    for by in ways() {
        while_another_spins(|thread| {
            for _ in 0..300 {
                let registers = ask(&signal, thread, by).expect("an answer");
                assert!(registers.ip != 0 && registers.sp != 0);
            }
        });
        let gone = ask(&signal, u32::MAX >> 1, by);
        assert!(matches!(gone, Err(NotSent(_))), "{gone:?}");
    }
    let own = crate::sys::thread_id();
    let refused = signal.ask(own, &mut Vec::new(), By::Us(&|| false), |_| false);
    assert_eq!(refused, Err(Refusal::NotAllowed));
}

/// Asks a thread that does nothing but write to a pipe 300 times, and goes on until a write was cut
/// short if `cuts` says that some are. Returns how many were, and of how many.
fn short_writes(signal: &Signal, by: By<'_>, cuts: bool) -> (u32, u32) {
    /// More than a pipe holds: the write waits again and again for the reader.
    const LENGTH: usize = 256 * 1024;
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let reads = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
    let (writes, short) = (AtomicU32::new(0), AtomicU32::new(0));
    let bytes = vec![0; LENGTH];
    let write = || {
        let written = (&writer).write(&bytes).expect("somebody reads");
        writes.fetch_add(1, Relaxed);
        short.fetch_add(u32::from(written != LENGTH), Relaxed);
    };
    while_another(write, |thread| {
        for round in 0..100_000 {
            if round >= 300 && (!cuts || short.load(Relaxed) > 0) {
                break;
            }
            ask(signal, thread, by).expect("an answer");
        }
    });
    drop(writer);
    reads.join().expect("no panic").expect("all is read");
    (short.into_inner(), writes.into_inner())
}

#[test]
fn a_timer_cuts_no_call_short() {
    let _signals = testing::signals();
    let signal = Signal::install(is_pending).expect("installed");
    for by in ways() {
        // By hand some are: what is looked for can be seen.
        let cuts = matches!(by, By::Us(_));
        let (short, writes) = short_writes(&signal, by, cuts);
        println!("{short} of {writes} writes");
        assert_eq!(short > 0, cuts, "{short} of {writes} writes");
    }
}

#[test]
fn a_thread_that_waits_gets_no_signal_from_a_timer() {
    let _signals = testing::signals();
    let signal = Signal::install(is_pending).expect("installed");
    if ways().len() < 2 {
        return;
    }
    let (release, held) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        tell.send(crate::sys::thread_id()).expect("the test waits");
        held.recv().expect_err("nothing is sent");
    });
    let thread = told.recv().expect("it says so");
    let syscall = format!("/proc/self/task/{thread}/syscall");
    let waits = || {
        std::fs::read_to_string(&syscall)
            .expect("it lives")
            .starts_with(&format!("{} ", libc::SYS_futex))
    };
    while !waits() {
        std::thread::yield_now();
    }
    let mut left = 100;
    let wait = |_| {
        std::thread::sleep(std::time::Duration::from_micros(100));
        left -= 1;
        left > 0
    };
    let refused = signal.ask(thread, &mut Vec::new(), By::Timer, wait);
    assert_eq!(refused, Err(Refusal::NoAnswer));
    assert!(waits() && asker().late.is_empty());
    drop(release);
    waiting.join().expect("it ends well");
}

#[test]
fn handlers_of_others_get_their_signals_and_are_put_back() {
    let _signals = testing::signals();
    for (handler, flags, counts) in testing::handlers() {
        testing::install(handler, flags);
        let before = testing::FOREIGN.load(Acquire);
        let first = Signal::install(is_pending).expect("installed");
        let second = Signal::install(is_pending).expect("installed");
        for by in ways() {
            while_another_spins(|thread| {
                ask(&second, thread, by).expect("an answer");
            });
        }
        testing::raise();
        drop(first);
        testing::raise();
        if counts {
            testing::raise_by_a_timer();
        }
        assert!(is_ours(&current()), "as long as it is used");
        drop(second);
        assert_eq!(testing::installed(), (handler, flags));
        let signals = testing::FOREIGN.load(Acquire) - before;
        assert_eq!(signals, if counts { 3 } else { 0 });
    }
}

#[test]
fn the_handler_finds_its_memory_there() {
    let _signals = testing::signals();
    let _signal = Signal::install(is_pending).expect("installed");
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
    let signal = Signal::install(is_pending).expect("installed");
    let (handler, flags, _) = testing::handlers()[0];
    testing::install(handler, flags);
    while_another_spins(|thread| {
        assert_eq!(ask(&signal, thread, BY_HAND), Err(Refusal::Replaced));
    });
    drop(signal);
    assert_eq!(testing::installed(), (handler, flags));
    testing::install(libc::SIG_DFL, 0);
}

#[test]
fn an_answer_that_comes_too_late_changes_nothing() {
    let _signals = testing::signals();
    for by in ways() {
        let (handler, flags, _) = testing::handlers()[0];
        testing::install(handler, flags);
        let signal = Signal::install(is_pending).expect("installed");
        let before = testing::FOREIGN.load(Acquire);
        let (thread, unblock) = (AtomicU32::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                testing::block_signal(true);
                thread.store(crate::sys::thread_id(), Release);
                while !unblock.load(Acquire) {
                    std::hint::spin_loop();
                }
                testing::block_signal(false);
            });
            while thread.load(Acquire) == 0 {
                std::thread::yield_now();
            }
            let _unblocks = Stops(&unblock);
            let thread = thread.load(Acquire);
            let sent = |_| !is_pending(thread);
            let refused = signal.ask(thread, &mut Vec::new(), by, sent);
            assert_eq!(refused, Err(Refusal::NoAnswer));
            assert_eq!(asker().late, [thread], "it lives");
            // Another is asked meanwhile, and only that one answers.
            while_another_spins(|other| {
                ask(&signal, other, by).expect("an answer");
            });
        });
        // The signal has come, to a handler that knew it and did nothing.
        while_another_spins(|thread| {
            ask(&signal, thread, by).expect("an answer");
        });
        drop(signal);
        assert_eq!(testing::FOREIGN.load(Acquire), before);
        assert_eq!(testing::installed(), (handler, flags));
        testing::install(libc::SIG_DFL, 0);
    }
}
