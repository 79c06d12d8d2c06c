//! The handler of SIGURG, on the thread that was interrupted: the rules are those of the module.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use super::exchange::{
    ANSWERED, LONGEST_STACK, MARK, OLD_FLAGS, OLD_HANDLER, PHASES, PROCESS, Queued, SHOT, STATE,
    WANTED, WRITING, is_handler,
};
use super::timer::SI_TIMER;
use crate::sys::native::arch::{Registers, thread_area};
use crate::sys::native::memory::copy_pieces;

pub(super) extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // First of all: whatever is called from here on may change errno under the code that was
    // interrupted.
    // SAFETY: the place of errno is this thread's own.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *place };
    // SAFETY: with SA_SIGINFO the kernel passes a `siginfo_t`, which is as large as `Queued`;
    // fields that mean nothing for this signal are just numbers.
    let queued = unsafe { &*info.cast::<Queued>() };
    // SAFETY: with SA_SIGINFO the kernel passes the interrupted context.
    let interrupted = unsafe { &*context.cast::<libc::ucontext_t>() };
    if is_token(queued) {
        answer(u64::from(queued.token as u32) * PHASES, interrupted);
    } else {
        // SAFETY: the arguments are those the kernel passed.
        unsafe { chain(signal, info, context) };
    }
    // SAFETY: as above.
    unsafe { *place = saved };
}

/// Whether the signal is one of ours, be it too late.
fn is_token(queued: &Queued) -> bool {
    // A process may send itself any number, and so may a timer of another library: the mark tells.
    let ours = match queued.code {
        SI_TIMER => true,
        libc::SI_QUEUE => queued.process == PROCESS.load(Relaxed),
        _ => false,
    };
    ours && (queued.token >> 32) as u32 == MARK.load(Relaxed)
}

/// Copies registers and stack, if the question is still open (rule 1).
fn answer(question: u64, context: &libc::ucontext_t) {
    // Acquire: what the asker wrote before. A question that was given up has another phase or
    // another ticket, and its signal does nothing.
    if STATE.compare_exchange(question + WANTED, question + WRITING, AcqRel, Relaxed).is_err() {
        return;
    }
    // SAFETY: the phase is writing, so it belongs to this thread (rule 2).
    let shot = unsafe { &mut *SHOT.0.get() };
    shot.registers = Registers::of(context);
    let length = length_of_stack(shot.registers.sp);
    // SAFETY: `stack` has room for `length` bytes and belongs to this thread now.
    let copied = unsafe {
        copy_pieces(
            PROCESS.load(Relaxed),
            shot.registers.sp,
            shot.stack.as_mut_ptr(),
            length,
            &mut shot.pieces,
        )
    };
    // No stack is an answer too: the registers are right.
    shot.length = copied.unwrap_or(0);
    // Release: passes the answer to the asker (rule 2).
    STATE.store(question + ANSWERED, Release);
}

/// How much of the stack to copy. What libc keeps for a thread lies at the outer end of the
/// stack that libc made for it: further out is memory of others.
fn length_of_stack(sp: u64) -> usize {
    match thread_area().checked_sub(sp) {
        Some(length) if length < LONGEST_STACK as u64 => length as usize,
        _ => LONGEST_STACK,
    }
}

/// Calls the handler that was there before.
///
/// # Safety
///
/// The arguments are those of a signal handler.
unsafe fn chain(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let flags = OLD_FLAGS.load(Acquire);
    let handler = OLD_HANDLER.load(Relaxed);
    if !is_handler(handler) {
        return;
    }
    if flags & libc::SA_SIGINFO != 0 {
        type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
        // SAFETY: who installed it with SA_SIGINFO promised this signature.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: who installed it without SA_SIGINFO promised this signature.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler) };
        handler(signal);
    }
}
