//! A program that has a handler for SIGURG of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::drive::{self, Seen};
use crate::support::*;

/// Signals that are sent while stacks are taken, at least.
const SIGNALS: usize = 200;
/// Stacks that are taken by a signal of ours meanwhile, at least.
const STACKS: usize = 5;

static RECEIVED: AtomicUsize = AtomicUsize::new(0);

extern "C" fn count(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes one.
    let code = unsafe { (*info).si_code };
    // A signal of ours would show here as one that was queued.
    if signal == libc::SIGURG && code == libc::SI_USER {
        RECEIVED.fetch_add(1, Ordering::SeqCst);
    } else {
        RECEIVED.fetch_add(1_000_000, Ordering::SeqCst);
    }
}

const FLAGS: i32 = libc::SA_SIGINFO | libc::SA_RESTART;

fn install() {
    // SAFETY: zeros are a valid `sigaction`; the handler has the signature its flags ask for.
    let done = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as *const () as usize;
        action.sa_flags = FLAGS;
        libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut())
    };
    assert_eq!(done, 0);
}

/// Whether the handler above is what is installed.
fn is_installed() -> bool {
    // SAFETY: zeros are a valid `sigaction`, and this only reads what is installed.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGURG, std::ptr::null(), &raw mut action);
        action
    };
    action.sa_sigaction == count as *const () as usize && action.sa_flags & FLAGS == FLAGS
}

/// Sends one and waits until it has arrived: two that are pending are one.
#[track_caller]
fn send_one() {
    let before = RECEIVED.load(Ordering::SeqCst);
    // SAFETY: takes numbers; the handler is the one above, or ours in front of it.
    assert_eq!(unsafe { libc::kill(std::process::id() as i32, libc::SIGURG) }, 0);
    wait_until(LIMIT, || RECEIVED.load(Ordering::SeqCst) > before);
    assert_eq!(RECEIVED.load(Ordering::SeqCst), before + 1, "it comes once, and no other does");
}

#[test]
fn a_handler_that_was_there_before_gets_its_signals_and_is_put_back() {
    child::run(
        "foreign::a_handler_that_was_there_before_gets_its_signals_and_is_put_back",
        &[],
        || {
            install();
            let seen = Seen::default();
            let rig = drive::rig(&seen);
            let stop = Arc::new(AtomicBool::new(false));
            let (stopped, stall) = (Arc::clone(&stop), Arc::clone(&rig.stall));
            let spinning = rig.runtime.spawn(async move {
                for run in 0.. {
                    let spin = async {
                        let start = Instant::now();
                        while start.elapsed() < Duration::from_millis(20) {
                            std::hint::spin_loop();
                        }
                    };
                    stall.watched(&drive::name("spin", run), spin).await;
                    if stopped.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let mut sent = 0;
            while sent < SIGNALS || seen.of("spin").by_signal < STACKS {
                send_one();
                sent += 1;
                assert!(sent < 1000 * SIGNALS, "{:?}", seen.of("spin"));
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(!is_installed(), "ours is in front of it");
            stop.store(true, Ordering::Relaxed);
            rig.runtime.block_on(spinning).expect("no panic");
            println!("{sent} signals, {:?}", seen.of("spin"));
            drop(rig);
            assert!(is_installed(), "it was put back");
            send_one();
            assert_eq!(RECEIVED.load(Ordering::SeqCst), sent + 1);
        },
    );
}
