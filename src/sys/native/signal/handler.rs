//! The handler of SIGURG, on the interrupted thread. The rules are those of the parent module.

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
    // First of all: what is called from here on may change errno, which the interrupted code uses.
    // SAFETY: errno is this thread's own.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *place };
    // SAFETY: with SA_SIGINFO the kernel passes a `siginfo_t`, which is as large as `Queued`. Any
    // bytes are valid for its fields, which are all numbers.
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

/// Whether the signal is one of ours, even if it comes too late.
fn is_token(queued: &Queued) -> bool {
    // The process itself or a timer of another library may send any number, so the mark decides.
    let ours = match queued.code {
        SI_TIMER => true,
        libc::SI_QUEUE => queued.process == PROCESS.load(Relaxed),
        _ => false,
    };
    ours && (queued.token >> 32) as u32 == MARK.load(Relaxed)
}

/// Copies the registers and the stack, if the question is still open (rule 1).
fn answer(question: u64, context: &libc::ucontext_t) {
    // Acquire: sees what the asking thread wrote before. A question that was given up has another
    // phase or another ticket, and its signal does nothing.
    if STATE.compare_exchange(question + WANTED, question + WRITING, AcqRel, Relaxed).is_err() {
        return;
    }
    // SAFETY: the phase is writing, so it belongs to this thread (rule 2).
    let shot = unsafe { &mut *SHOT.0.get() };
    shot.registers = Registers::of(context);
    let length = length_of_stack(shot.registers.sp);
    let (process, sp, into) = (PROCESS.load(Relaxed), shot.registers.sp, shot.stack.as_mut_ptr());
    // SAFETY: `stack` has room for `length` bytes and belongs to this thread now.
    let copied = unsafe { copy_pieces(process, sp, into, length, &mut shot.pieces) };
    // Without a stack the registers are still right.
    shot.length = copied.unwrap_or(0);
    // Release: hands the answer over to the asking thread (rule 2).
    STATE.store(question + ANSWERED, Release);
}

/// How many bytes of the stack to copy. A stack that libc has made ends at libc's data about the
/// thread: further out is unrelated memory.
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
        // SAFETY: a handler installed with SA_SIGINFO has this signature.
        let handler = unsafe { std::mem::transmute::<usize, Handler>(handler) };
        handler(signal, info, context);
    } else {
        // SAFETY: a handler installed without SA_SIGINFO has this signature.
        let handler = unsafe { std::mem::transmute::<usize, extern "C" fn(libc::c_int)>(handler) };
        handler(signal);
    }
}
