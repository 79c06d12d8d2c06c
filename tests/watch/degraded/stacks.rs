//! Stacks that cannot be taken, or are not wanted.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tower_stall::{Capture, Cause};

use super::found::{Watched, lock, sleep, spin};
use crate::support::*;

#[test]
fn nothing_is_taken_when_it_is_off() {
    let watched = Watched::new(|builder| builder.capture(Capture::Off));
    for (handler, fault, cause) in
        [("sleep", sleep as fn(&AtomicBool), Cause::Sleep), ("spin", spin, Cause::Cpu)]
    {
        let stall = watched.stall(handler, fault);
        assert_eq!(stall.cause, cause, "{stall:#?}");
        assert!(stall.stack.is_none());
        assert_eq!(stall.stack_missing.as_deref(), Some("stacks are off"));
    }
    assert_eq!(watched.captures("ok"), None, "no series");
    let off = [("capture", "off")];
    assert_eq!(watched.rig.metric("tower_stall_build_info", &off), Some(1.0));
}

#[test]
fn without_signals_only_who_computes_has_no_stack() {
    let watched = Watched::new(|builder| builder.capture(Capture::NoSignal));
    let missing = ("failed", "on the CPU, and signals are off");
    watched.check(("spin", spin), Cause::Cpu, missing);
    assert!(!watched.stack("lock", lock).by_signal, "from outside");
}

/// Keeps SIGURG from the calling thread until told otherwise.
fn block_signal(how: i32) {
    // SAFETY: a set of ours, filled before it is used.
    let done = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGURG);
        libc::pthread_sigmask(how, &raw const set, std::ptr::null_mut())
    };
    assert_eq!(done, 0);
}

fn spin_deaf(end: &AtomicBool) {
    block_signal(libc::SIG_BLOCK);
    spin(end);
    block_signal(libc::SIG_UNBLOCK);
}

#[test]
fn a_thread_that_takes_no_signals_is_given_up() {
    child::run("degraded::stacks::a_thread_that_takes_no_signals_is_given_up", &[], || {
        let watched = Watched::new(|builder| builder);
        let missing = ("timeout", "the thread did not take the signal in time");
        watched.check(("deaf", spin_deaf), Cause::Cpu, missing);
        // The next has one.
        assert!(watched.stack("spin", spin).by_signal);
    });
}

extern "C" fn of_the_program(_: libc::c_int) {}

#[test]
fn a_handler_that_replaced_ours_is_left_alone() {
    child::run("degraded::stacks::a_handler_that_replaced_ours_is_left_alone", &[], || {
        let watched = Watched::new(|builder| builder);
        assert!(watched.stack("before", spin).by_signal);
        let handler = of_the_program as *const () as usize;
        // SAFETY: the handler has the signature that `signal` asks for.
        unsafe { libc::signal(libc::SIGURG, handler) };
        let missing = ("failed", "another handler was installed for SIGURG");
        watched.check(("after", spin), Cause::Cpu, missing);
        drop(watched);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::signal(libc::SIGURG, libc::SIG_DFL) }, handler);
    });
}

static FOREIGN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count_foreign(_: i32) {
    FOREIGN.fetch_add(1, Ordering::Relaxed);
}

/// It would come without what tells it from the signals of others.
#[test]
fn where_no_signal_can_be_pending_none_is_sent() {
    child::run("degraded::stacks::where_no_signal_can_be_pending_none_is_sent", &[], || {
        let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the handler is async-signal-safe; the call reads a limit of ours.
        unsafe {
            libc::signal(libc::SIGURG, count_foreign as extern "C" fn(i32) as libc::sighandler_t);
            assert_eq!(libc::setrlimit(libc::RLIMIT_SIGPENDING, &raw const none), 0);
        }
        let watched = Watched::new(|builder| builder);
        let missing = ("failed", "as many signals are pending as may be");
        watched.check(("spin", spin), Cause::Cpu, missing);
        assert_eq!(FOREIGN.load(Ordering::Relaxed), 0);
        assert!(!watched.stack("lock", lock).by_signal, "from outside");
    });
}
