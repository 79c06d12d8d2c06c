//! A thread that computes, stopped for the moment it takes to copy its registers and the inner
//! part of its stack.
//!
//! The thread is sent SIGURG, which is ignored unless a program says otherwise, with a token. The
//! rules:
//!
//! 1. [`STATE`] is a ticket and a phase. Who holds [`ASKER`] takes it from idle to wanted, with a
//!    new ticket, and from wanted or answered to idle. The handler takes it from wanted to
//!    writing, which only one thread can, and from writing to answered.
//! 2. [`SHOT`] belongs to the handler in the phase writing, to the asker in the phase answered,
//!    else to nobody. So an answer that comes after its deadline writes nowhere, and one that is
//!    late in the middle of writing keeps the place to itself.
//! 3. The handler is async-signal-safe: atomics, one system call, no allocation, no lock. It never
//!    reads the stack itself: on a stack of a coroutine there may be a hole above.
//! 4. Signals without a token of ours go to the handler that was there before.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::memory::{NO_PIECE, PIECES, copy_pieces, errno};

use Ordering::{AcqRel, Acquire, Relaxed, Release};

/// What is copied of a stack at most.
pub(crate) const LONGEST_STACK: usize = 256 * 1024;

const SIGNAL: libc::c_int = libc::SIGURG;

const IDLE: u64 = 0;
const WANTED: u64 = 1;
const WRITING: u64 = 2;
const ANSWERED: u64 = 3;
const PHASES: u64 = 4;

static STATE: AtomicU64 = AtomicU64::new(IDLE);
static SHOT: Shot = Shot(UnsafeCell::new(ShotData {
    registers: Registers { ip: 0, sp: 0, bp: 0 },
    length: 0,
    pieces: [NO_PIECE; PIECES],
    stack: [0; LONGEST_STACK],
}));
static ASKER: Mutex<Asker> = Mutex::new(Asker { users: 0, ticket: 0, unanswered: false });

/// The upper half of every token: tells ours from those of others.
static MARK: AtomicU32 = AtomicU32::new(0);
/// The process that installed the handler; a forked child is another.
static PROCESS: AtomicI32 = AtomicI32::new(0);
/// The handler that was there before, and its flags.
static OLD_HANDLER: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static OLD_FLAGS: AtomicI32 = AtomicI32::new(0);

/// The registers that unwinding needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Registers {
    pub(crate) ip: u64,
    pub(crate) sp: u64,
    pub(crate) bp: u64,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The signal was sent, and the thread did not come to its handler.
    NoAnswer,
    /// An answer is still being written, to a question that was given up.
    Busy,
    /// Somebody has replaced our handler.
    Replaced,
    /// The system did not send the signal.
    NotSent(i32),
}

/// The handler is installed as long as one of these is there.
#[derive(Debug)]
pub(crate) struct Signal(());

struct Asker {
    users: usize,
    ticket: u32,
    /// A signal of ours may still be on its way.
    unanswered: bool,
}

struct Shot(UnsafeCell<ShotData>);

struct ShotData {
    registers: Registers,
    length: usize,
    pieces: [libc::iovec; PIECES],
    stack: [u8; LONGEST_STACK],
}

// SAFETY: rule 2 gives the content to one thread at a time, and the stores to `STATE` that pass it
// on are releases, the loads acquires.
unsafe impl Sync for Shot {}

/// `siginfo_t` as the kernel lays it out for a queued signal.
#[repr(C)]
struct Queued {
    signal: i32,
    errno: i32,
    code: i32,
    padding: i32,
    process: i32,
    user: u32,
    token: u64,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>());

impl Signal {
    /// Installs the handler, unless it is there already.
    ///
    /// # Errors
    ///
    /// The errno of the system.
    pub(crate) fn install() -> Result<Self, i32> {
        let mut asker = asker();
        if asker.users == 0 && !is_ours(&current()) {
            install()?;
        }
        asker.users += 1;
        Ok(Self(()))
    }

    /// Has the thread copy its registers, and its stack into `stack`. Calls `wait` until it has
    /// done so, or until `wait` returns `false`.
    ///
    /// # Errors
    ///
    /// What went wrong; the thread did nothing then, or may do so later without effect.
    pub(crate) fn ask(
        &self,
        thread: u32,
        stack: &mut Vec<u8>,
        mut wait: impl FnMut() -> bool,
    ) -> Result<Registers, Refusal> {
        let mut asker = asker();
        if !is_ours(&current()) {
            return Err(Refusal::Replaced);
        }
        asker.ticket = asker.ticket.wrapping_add(1);
        let question = u64::from(asker.ticket) * PHASES;
        begin(question)?;
        asker.unanswered = true;
        if let Err(errno) = send(thread, asker.ticket) {
            asker.unanswered = false;
            STATE.store(IDLE, Release);
            return Err(Refusal::NotSent(errno));
        }
        while STATE.load(Acquire) != question + ANSWERED {
            if wait() {
                continue;
            }
            // Where the question cannot be taken back, it is being answered, or has been by now.
            if give_up(question) || STATE.load(Acquire) != question + ANSWERED {
                return Err(Refusal::NoAnswer);
            }
        }
        asker.unanswered = false;
        let registers = take(stack);
        STATE.store(IDLE, Release);
        Ok(registers)
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        let mut asker = asker();
        asker.users -= 1;
        // A signal that is still to come would go to a handler that knows nothing of it.
        if asker.users == 0 && !asker.unanswered && is_ours(&current()) {
            restore();
        }
    }
}

fn asker() -> MutexGuard<'static, Asker> {
    ASKER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts the question (rule 1).
fn begin(question: u64) -> Result<(), Refusal> {
    let before = STATE.load(Acquire);
    // An answer that came when nobody waited for it any more is dropped.
    if before % PHASES == WRITING
        || STATE.compare_exchange(before, question + WANTED, AcqRel, Relaxed).is_err()
    {
        return Err(Refusal::Busy);
    }
    Ok(())
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
    PROCESS.store(std::process::id() as i32, Relaxed);
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

fn is_handler(handler: usize) -> bool {
    handler != libc::SIG_DFL && handler != libc::SIG_IGN
}

fn restore() {
    let mut action = current();
    action.sa_sigaction = OLD_HANDLER.load(Relaxed);
    action.sa_flags = OLD_FLAGS.load(Relaxed);
    // SAFETY: puts back what was installed before; the mask was taken over from it.
    unsafe { libc::sigaction(SIGNAL, &raw const action, std::ptr::null_mut()) };
}

// The handler.

extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: the place of errno is this thread's own.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    let saved = unsafe { *place };
    // SAFETY: with SA_SIGINFO the kernel passes a `siginfo_t`, which is as large as `Queued`;
    // fields that mean nothing for this signal are just numbers.
    let queued = unsafe { &*info.cast::<Queued>() };
    if is_token(queued) {
        // SAFETY: with SA_SIGINFO the kernel passes the interrupted context.
        answer(queued.token as u32, unsafe { &*context.cast::<libc::ucontext_t>() });
    } else {
        // SAFETY: the arguments are those the kernel passed.
        unsafe { chain(signal, info, context) };
    }
    // SAFETY: as above.
    unsafe { *place = saved };
}

/// Whether the signal is one of ours, be it too late.
fn is_token(queued: &Queued) -> bool {
    queued.code == libc::SI_QUEUE
        && queued.process == PROCESS.load(Relaxed)
        && (queued.token >> 32) as u32 == MARK.load(Relaxed)
}

fn answer(ticket: u32, context: &libc::ucontext_t) {
    let question = u64::from(ticket) * PHASES;
    if STATE.compare_exchange(question + WANTED, question + WRITING, AcqRel, Relaxed).is_err() {
        return;
    }
    // SAFETY: the phase is writing, so it belongs to this thread (rule 2).
    let shot = unsafe { &mut *SHOT.0.get() };
    let register = |index: libc::c_int| context.uc_mcontext.gregs[index as usize] as u64;
    shot.registers = Registers {
        ip: register(libc::REG_RIP),
        sp: register(libc::REG_RSP),
        bp: register(libc::REG_RBP),
    };
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
    shot.length = copied.unwrap_or(0);
    STATE.store(question + ANSWERED, Release);
}

/// How much of the stack to copy. What libc keeps for a thread lies at the outer end of the
/// stack that libc made for it: further out is memory of others.
fn length_of_stack(sp: u64) -> usize {
    let thread: u64;
    // SAFETY: the word at fs:0 is the address of the thread's own data, on every x86_64 Linux.
    unsafe {
        std::arch::asm!("mov {}, fs:0", out(reg) thread, options(nostack, preserves_flags, readonly));
    }
    match thread.checked_sub(sp) {
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::super::testing;
    use super::*;

    /// Asks as long as it takes.
    fn ask(signal: &Signal, thread: u32) -> Result<Registers, Refusal> {
        let mut stack = Vec::new();
        let registers = signal.ask(thread, &mut stack, || {
            std::thread::yield_now();
            true
        })?;
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
    }

    #[test]
    fn handlers_of_others_get_their_signals_and_are_put_back() {
        let _signals = testing::signals();
        for (handler, flags, counts) in testing::HANDLERS {
            testing::install(handler(), flags);
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
            assert_eq!(testing::installed(), (handler(), flags));
            let signals = testing::FOREIGN.load(Acquire) - before;
            assert_eq!(signals, if counts { 2 } else { 0 });
        }
    }

    #[test]
    fn a_handler_that_replaces_ours_is_left_alone() {
        let _signals = testing::signals();
        let signal = Signal::install().expect("installed");
        let (handler, flags, _) = testing::HANDLERS[0];
        testing::install(handler(), flags);
        while_another_spins(|thread| {
            assert_eq!(ask(&signal, thread), Err(Refusal::Replaced));
        });
        drop(signal);
        assert_eq!(testing::installed(), (handler(), flags));
        testing::install(libc::SIG_DFL, 0);
    }
}
