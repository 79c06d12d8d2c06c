//! A thread that computes, stopped for the moment it takes to copy its registers and the inner
//! part of its stack.
//!
//! The thread is sent SIGURG, which is ignored unless a program says otherwise, with a token: by the
//! kernel, between its calls (see [`Timer`]), or else by this process. The rules:
//!
//! 1. [`STATE`] is a ticket and a phase. Who holds [`ASKER`] takes it from idle to wanted, with a
//!    new ticket, and from wanted or answered to idle. The handler takes it from wanted to
//!    writing, which only one thread can, and from writing to answered.
//! 2. [`SHOT`] belongs to the handler in the phase writing, to the asker in the phase answered,
//!    else to nobody. So an answer that comes after its deadline writes nowhere, and one that is
//!    late in the middle of writing keeps the place to itself.
//! 3. The handler is async-signal-safe: atomics, one system call, no allocation, no lock. It
//!    never reads the stack itself: on a stack of a coroutine there may be a hole above.
//! 4. A token answers the question of its ticket and no other. All other signals go to the handler
//!    that was there before.

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
    /// The signal was sent, and the thread did not come to its handler.
    NoAnswer,
    /// An answer is still being written, to a question that was given up.
    Busy,
    /// Somebody has replaced our handler.
    Replaced,
    /// The caller did not want it sent after all.
    NotAllowed,
    /// The system did not send the signal.
    NotSent(i32),
}

/// Who sends the signal.
#[derive(Clone, Copy)]
pub(crate) enum By<'a> {
    /// The kernel, when the thread comes back to its own code.
    Timer,
    /// This process, at once, if this still says so.
    Us(&'a dyn Fn() -> bool),
}

/// The handler is installed as long as one of these is there.
#[derive(Debug)]
pub(crate) struct Signal(());

struct Asker {
    users: usize,
    ticket: u32,
    /// Threads on which a signal of ours was pending when its question was over.
    late: Vec<u32>,
    /// Whether the signal waits until that thread takes it, as the last user of the handler sees
    /// it.
    is_pending: fn(u32) -> bool,
}

impl Signal {
    /// Installs the handler, unless it is there already. `is_pending` tells of a thread whether
    /// [`SIGNAL`] still waits for it.
    ///
    /// # Errors
    ///
    /// The errno of the system.
    pub(crate) fn install(is_pending: fn(u32) -> bool) -> Result<Self, i32> {
        let mut asker = asker();
        // A forked child has the handler and the count of its parent, and another number.
        PROCESS.store(std::process::id() as i32, Relaxed);
        let _faster = populate();
        if asker.users == 0 && !is_ours(&current()) {
            install()?;
        }
        asker.is_pending = is_pending;
        asker.users += 1;
        Ok(Self(()))
    }

    /// Has the thread copy its registers, and its stack into `stack`. Calls `wait` until there is an
    /// answer, or until it returns `false`. It is told whether the thread has begun to answer: what
    /// the thread does then is our own.
    ///
    /// # Errors
    ///
    /// What went wrong; the thread did nothing then, or may do so later without effect.
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
        let sent = match by {
            By::Timer => Timer::start(thread, token(asker.ticket)).map(Some).map_err(NotSent),
            By::Us(may_send) if may_send() => {
                send(thread, asker.ticket).map(|()| None).map_err(NotSent)
            }
            By::Us(_) => Err(Refusal::NotAllowed),
        };
        let answered = sent.and_then(|_timer| answered(question, wait));
        let registers = answered.map(|()| take(stack));
        // An answer that is still being written goes on (rule 2).
        if registers.is_ok() || give_up(question) {
            STATE.store(IDLE, Release);
        }
        asker.late.push(thread);
        asker.forget_what_has_come();
        registers
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        let mut asker = asker();
        asker.users -= 1;
        // A signal that is still to come would go to a handler that knows nothing of it.
        asker.forget_what_has_come();
        if asker.users == 0 && asker.late.is_empty() && is_ours(&current()) {
            restore();
        }
    }
}

impl Asker {
    /// Puts the question (rule 1).
    fn begin(&mut self, question: u64, thread: u32) -> Result<(), Refusal> {
        let before = STATE.load(Acquire);
        if before % PHASES == WRITING {
            return Err(Refusal::Busy);
        }
        ASKED.store(thread, Release);
        // An answer that came when nobody waited for it any more is dropped.
        let begun = STATE.compare_exchange(before, question + WANTED, AcqRel, Relaxed);
        begun.map(drop).map_err(|_| Refusal::Busy)
    }

    /// A signal that is not pending any more has found our handler, or its thread has ended.
    fn forget_what_has_come(&mut self) {
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

/// Whether the thread is answering, be it too late.
pub(crate) fn answers(thread: u32) -> bool {
    STATE.load(Acquire) % PHASES == WRITING && ASKED.load(Acquire) == thread
}

/// Whether the handler is wanted, or is at work.
#[cfg(test)]
pub(super) fn is_in_use() -> bool {
    asker().users > 0 || STATE.load(Acquire) % PHASES == WRITING
}

/// Takes the question back; `false` where the answer is being written.
fn give_up(question: u64) -> bool {
    STATE.compare_exchange(question + WANTED, IDLE, AcqRel, Relaxed).is_ok()
}

/// Reads the answer.
fn take(stack: &mut Vec<u8>) -> Registers {
    // SAFETY: the phase is answered and this thread holds the lock of the asker (rule 2).
    let shot = unsafe { &*SHOT.0.get() };
    stack.clear();
    stack.extend_from_slice(&shot.stack[..shot.length]);
    shot.registers
}

fn send(thread: u32, ticket: u32) -> Result<(), i32> {
    let process = PROCESS.load(Relaxed);
    let queued = Queued {
        signal: SIGNAL,
        errno: 0,
        code: libc::SI_QUEUE,
        padding: 0,
        process,
        user: 0,
        token: token(ticket),
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

fn token(ticket: u32) -> u64 {
    (u64::from(MARK.load(Relaxed)) << 32) | u64::from(ticket)
}

// What is installed.

fn no_action() -> libc::sigaction {
    // SAFETY: zeros are a valid `sigaction`: the default handler, no flags, an empty mask.
    unsafe { std::mem::zeroed() }
}

fn current() -> libc::sigaction {
    let mut action = no_action();
    // SAFETY: only reads what is installed, into a structure of ours.
    unsafe { libc::sigaction(SIGNAL, std::ptr::null(), &raw mut action) };
    action
}

fn is_ours(action: &libc::sigaction) -> bool {
    action.sa_sigaction == on_signal as *const () as usize
}

fn install() -> Result<(), i32> {
    let old = current();
    // Where the system has put this library differs from process to process.
    let place = &raw const STATE as u64;
    MARK.store(((place >> 12) as u32 ^ std::process::id()) | 1, Relaxed);
    OLD_HANDLER.store(old.sa_sigaction, Relaxed);
    OLD_FLAGS.store(old.sa_flags, Release);
    let mut action = no_action();
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | flags_for(&old);
    action.sa_mask = old.sa_mask;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and is async-signal-safe.
    let installed = unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
    if installed == 0 { Ok(()) } else { Err(errno()) }
}

/// A handler that was there before keeps the flags it relies on. Without one, our own run on the
/// signal stack: the stack of a coroutine may have little room left.
fn flags_for(old: &libc::sigaction) -> libc::c_int {
    if is_handler(old.sa_sigaction) {
        old.sa_flags & (libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_NODEFER)
    } else {
        libc::SA_RESTART | libc::SA_ONSTACK
    }
}

/// Gives [`SHOT`] its memory beforehand: were the handler the first to touch its pages, that would
/// pause the thread for longer than the copy itself. `false` from kernels before 5.14, which
/// cannot.
fn populate() -> bool {
    let (begin, length) = pages();
    // SAFETY: leaves the content of all memory as it is; these pages are writable data.
    let done = unsafe { libc::madvise(begin, length, libc::MADV_POPULATE_WRITE) };
    done == 0
}

/// The pages of [`SHOT`]: where they begin, and their length.
fn pages() -> (*mut libc::c_void, usize) {
    let begin = SHOT.0.get().cast::<libc::c_void>();
    let before = begin.addr() % PAGE as usize;
    (begin.wrapping_byte_sub(before), before + size_of::<ShotData>())
}

fn restore() {
    let mut action = current();
    action.sa_sigaction = OLD_HANDLER.load(Relaxed);
    action.sa_flags = OLD_FLAGS.load(Relaxed);
    // SAFETY: puts back what was installed before; the mask was taken over from it.
    unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
}

#[cfg(test)]
mod tests;
