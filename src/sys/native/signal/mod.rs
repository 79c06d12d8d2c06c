//! Stops a thread that computes for as long as it takes to copy its registers and the inner part of
//! its stack.
//!
//! The thread gets SIGURG with a token: from the kernel, outside of system calls (see [`Timer`]), or
//! else from this process. The rules:
//!
//! 1. [`STATE`] is a ticket and a phase. The thread that holds [`ASKER`] moves it from idle to wanted,
//!    with a new ticket, and from wanted or answered to idle. The handler moves it from wanted to
//!    writing, which only one thread can, and from writing to answered.
//! 2. [`SHOT`] belongs to the handler in the phase writing, to the asking thread in the phase
//!    answered, else to nobody. So an answer that comes after its deadline writes nowhere, and one
//!    that passes the deadline while it is written has the memory to itself.
//! 3. The handler is async-signal-safe: atomics, one system call, no allocation, no lock. It never
//!    reads the stack itself: the memory above the stack of a coroutine may be unmapped.
//! 4. A token answers the question of its ticket and no other. All other signals go to the handler
//!    that was installed before.

mod exchange;
mod handler;
mod timer;

use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use self::exchange::{
    ANSWERED, ASKED, IDLE, MARK, OLD_FLAGS, OLD_HANDLER, PHASES, PROCESS, Queued, SHOT, STATE,
    ShotData, WANTED, WRITING, is_handler,
};
pub(crate) use self::exchange::{LONGEST_STACK, SIGNAL};
use self::handler::on_signal;
use self::timer::Timer;
pub(crate) use crate::sys::native::arch::Registers;
use crate::sys::native::memory::{PAGE, errno};

use Ordering::{AcqRel, Acquire, Relaxed, Release};
use Refusal::NotSent;

static ASKER: Mutex<Asker> =
    Mutex::new(Asker { users: 0, ticket: 0, late: Vec::new(), is_pending: |_| false });

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The signal was sent, and the handler did not answer in time.
    NoAnswer,
    /// The answer to a question that was given up is still being written.
    Busy,
    /// Another handler has replaced ours.
    Replaced,
    /// The caller no longer wants the signal to be sent.
    NotAllowed,
    /// The system did not send the signal.
    NotSent(i32),
}

/// Who sends the signal.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    /// The kernel, when the thread returns to its own code.
    Timer,
    /// This process, at once, if the function still returns `true`.
    Us(&'a dyn Fn() -> bool),
}

/// Keeps the handler installed as long as one of these exists.
#[derive(Debug)]
pub(crate) struct Signal(());

struct Asker {
    users: usize,
    ticket: u32,
    /// Threads whose question is over while the signal may still be pending.
    late: Vec<u32>,
    /// Whether the signal is pending on that thread, by the last user of the handler.
    is_pending: fn(u32) -> bool,
}

impl Signal {
    /// Installs the handler unless it is installed already. `is_pending` tells whether [`SIGNAL`] is
    /// pending on a thread.
    ///
    /// # Errors
    ///
    /// The errno.
    pub(crate) fn install(is_pending: fn(u32) -> bool) -> Result<Self, i32> {
        let mut asker = asker();
        // A forked child inherits the handler and the count of its parent, but not its process id.
        PROCESS.store(std::process::id() as i32, Relaxed);
        let _faster = populate();
        if asker.users == 0 && !is_ours(&current()) {
            install()?;
        }
        asker.is_pending = is_pending;
        asker.users += 1;
        Ok(Self(()))
    }

    /// Returns the registers of the thread, and its stack in `stack`. Calls `wait` until there is an
    /// answer or it returns `false`. Its argument says whether the thread has begun to answer: from
    /// then on the thread runs our own code.
    ///
    /// # Errors
    ///
    /// What went wrong. The handler did not run then, or runs later without effect.
    pub(crate) fn ask(
        &self,
        thread: u32,
        stack: &mut Vec<u8>,
        by: By<'_>,
        wait: impl FnMut(bool) -> bool,
    ) -> Result<Registers, Refusal> {
        let mut asker = asker();
        if !is_ours(&current()) {
            return Err(Refusal::Replaced);
        }
        asker.ticket = asker.ticket.wrapping_add(1);
        let question = u64::from(asker.ticket) * PHASES;
        asker.begin(question, thread)?;
        let token = (u64::from(MARK.load(Relaxed)) << 32) | u64::from(asker.ticket);
        let sent = match by {
            By::Timer => Timer::start(thread, token).map(Some).map_err(NotSent),
            By::Us(may_send) if may_send() => send(thread, token).map(|()| None).map_err(NotSent),
            By::Us(_) => Err(Refusal::NotAllowed),
        };
        let answered = sent.and_then(|_timer| answered(question, wait));
        let registers = answered.map(|()| take(stack));
        // A handler that is still writing goes on (rule 2).
        if registers.is_ok() || give_up(question) {
            STATE.store(IDLE, Release);
        }
        asker.late.push(thread);
        asker.forget_handled();
        registers
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        let mut asker = asker();
        asker.users -= 1;
        // A signal that is still pending would go to a handler that does not know it.
        asker.forget_handled();
        if asker.users == 0 && asker.late.is_empty() && is_ours(&current()) {
            restore();
        }
    }
}

impl Asker {
    /// Asks the question (rule 1).
    fn begin(&mut self, question: u64, thread: u32) -> Result<(), Refusal> {
        let before = STATE.load(Acquire);
        if before % PHASES == WRITING {
            return Err(Refusal::Busy);
        }
        ASKED.store(thread, Release);
        // Drops an answer that came when nobody waited for it any more.
        let begun = STATE.compare_exchange(before, question + WANTED, AcqRel, Relaxed);
        begun.map(drop).map_err(|_| Refusal::Busy)
    }

    /// Forgets the threads on which no signal is pending any more: it was handled, or the thread has
    /// ended.
    fn forget_handled(&mut self) {
        let is_pending = self.is_pending;
        self.late.retain(|thread| is_pending(*thread));
    }
}

fn asker() -> MutexGuard<'static, Asker> {
    ASKER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the question is answered.
fn answered(question: u64, mut wait: impl FnMut(bool) -> bool) -> Result<(), Refusal> {
    loop {
        let state = STATE.load(Acquire);
        if state == question + ANSWERED {
            return Ok(());
        }
        let answers = state == question + WRITING;
        if !wait(answers) && (answers || give_up(question)) {
            return Err(Refusal::NoAnswer);
        }
    }
}

/// Whether the thread is in our handler and answers, even if too late.
pub(crate) fn answers(thread: u32) -> bool {
    STATE.load(Acquire) % PHASES == WRITING && ASKED.load(Acquire) == thread
}

/// Whether the handler is installed or runs.
#[cfg(test)]
pub(super) fn is_in_use() -> bool {
    asker().users > 0 || STATE.load(Acquire) % PHASES == WRITING
}

/// Withdraws the question; `false` if the answer is being written.
fn give_up(question: u64) -> bool {
    STATE.compare_exchange(question + WANTED, IDLE, AcqRel, Relaxed).is_ok()
}

/// Reads the answer.
fn take(stack: &mut Vec<u8>) -> Registers {
    // SAFETY: the phase is answered and this thread holds the lock of `ASKER` (rule 2).
    let shot = unsafe { &*SHOT.0.get() };
    stack.clear();
    stack.extend_from_slice(&shot.stack[..shot.length]);
    shot.registers
}

fn send(thread: u32, token: u64) -> Result<(), i32> {
    let process = PROCESS.load(Relaxed);
    let queued = Queued {
        signal: SIGNAL,
        errno: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        process,
        user: 0,
        token,
        rest: [0; 12],
    };
    // SAFETY: the structure has the size and layout of `siginfo_t`, and the kernel only reads it.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_rt_tgsigqueueinfo,
            libc::c_long::from(process),
            libc::c_long::from(thread),
            libc::c_long::from(SIGNAL),
            &raw const queued,
        )
    };
    if sent == 0 { Ok(()) } else { Err(errno()) }
}

// The installed action.

fn current() -> libc::sigaction {
    // SAFETY: zeros are a valid `sigaction`: the default handler, no flags, an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: only reads the installed action, into a variable of ours.
    unsafe { libc::sigaction(SIGNAL, std::ptr::null(), &raw mut action) };
    action
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == on_signal as *const () as usize
}

fn install() -> Result<(), i32> {
    let old = current();
    // The address of this library differs from process to process.
    let place = &raw const STATE as u64;
    MARK.store(((place >> 12) as u32 ^ std::process::id()) | 1, Relaxed);
    OLD_HANDLER.store(old.sa_sigaction, Relaxed);
    OLD_FLAGS.store(old.sa_flags, Release);
    let mut action = old;
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | flags_for(&old);
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and is async-signal-safe.
    let installed = unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
    if installed == 0 { Ok(()) } else { Err(errno()) }
}

/// A handler that was installed before keeps the flags it relies on. Without one, our own runs on the
/// alternate signal stack: the stack of a coroutine may have little room left.
fn flags_for(old: &libc::sigaction) -> libc::c_int {
    if is_handler(old.sa_sigaction) {
        old.sa_flags & (libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_NODEFER)
    } else {
        libc::SA_RESTART | libc::SA_ONSTACK
    }
}

/// Allocates the pages of [`SHOT`] beforehand. If the handler were the first to touch them, the page
/// faults would pause the thread for longer than the copy itself. `false` before Linux 5.14, which
/// does not support it.
fn populate() -> bool {
    let (begin, length) = pages();
    // SAFETY: does not change the content of memory; these pages are writable data.
    let done = unsafe { libc::madvise(begin, length, libc::MADV_POPULATE_WRITE) };
    done == 0
}

/// The start and the length of the pages of [`SHOT`].
fn pages() -> (*mut libc::c_void, usize) {
    let begin = SHOT.0.get().cast::<libc::c_void>();
    let before = begin.addr() % PAGE as usize;
    (begin.wrapping_byte_sub(before), before + size_of::<ShotData>())
}

fn restore() {
    let mut action = current();
    action.sa_sigaction = OLD_HANDLER.load(Relaxed);
    action.sa_flags = OLD_FLAGS.load(Relaxed);
    // SAFETY: restores the action that was installed before; ours has the same mask.
    unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests;
