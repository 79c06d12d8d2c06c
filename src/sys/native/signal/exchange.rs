//! What the asking thread and the handler share. The rules are those of the parent module.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, AtomicUsize};

use crate::sys::native::arch::Registers;
use crate::sys::native::memory::{NO_PIECE, PIECES};

/// The most bytes of a stack that are copied.
pub(crate) const LONGEST_STACK: usize = 256 * 1024;

/// The signal. It is ignored unless a program installs a handler.
pub(crate) const SIGNAL: libc::c_int = libc::SIGURG;

/// Phase of [`STATE`]: nothing is asked.
pub(super) const IDLE: u64 = 0;
/// Phase: a thread is asked, and its handler has not begun.
pub(super) const WANTED: u64 = 1;
/// Phase: its handler writes to [`SHOT`].
pub(super) const WRITING: u64 = 2;
/// Phase: [`SHOT`] may be read.
pub(super) const ANSWERED: u64 = 3;
pub(super) const PHASES: u64 = 4;

/// Ticket times phases, plus the phase (rule 1).
pub(super) static STATE: AtomicU64 = AtomicU64::new(IDLE);
/// The answer. Static, since the handler cannot allocate (rule 3).
pub(super) static SHOT: Shot = Shot(UnsafeCell::new(ShotData {
    registers: Registers::at(0, 0),
    length: 0,
    pieces: [NO_PIECE; PIECES],
    stack: [0; LONGEST_STACK],
}));
/// The thread that is asked.
pub(super) static ASKED: AtomicU32 = AtomicU32::new(0);
/// The upper half of every token. It tells our tokens from those of other senders.
pub(super) static MARK: AtomicU32 = AtomicU32::new(0);
/// The process whose threads are asked.
pub(super) static PROCESS: AtomicI32 = AtomicI32::new(0);
/// The handler that was there before, and its flags.
pub(super) static OLD_HANDLER: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
pub(super) static OLD_FLAGS: AtomicI32 = AtomicI32::new(0);

pub(super) struct Shot(pub(super) UnsafeCell<ShotData>);

pub(super) struct ShotData {
    pub(super) registers: Registers,
    pub(super) length: usize,
    pub(super) pieces: [libc::iovec; PIECES],
    pub(super) stack: [u8; LONGEST_STACK],
}

// SAFETY: by rule 2 the content belongs to one thread at a time. The store to `STATE` that hands it
// over is a release, the load an acquire.
unsafe impl Sync for Shot {}

/// `siginfo_t` as the kernel lays it out for a queued signal. A timer's signal has other numbers in
/// the fields `process` and `user`.
#[repr(C)]
pub(super) struct Queued {
    pub(super) signal: i32,
    pub(super) errno: i32,
    pub(super) code: i32,
    pub(super) padding: i32,
    pub(super) process: i32,
    pub(super) user: u32,
    pub(super) token: u64,
    pub(super) rest: [u64; 12],
}

const _: () = assert!(size_of::<Queued>() == size_of::<libc::siginfo_t>());

/// Whether that is a function, and neither `SIG_DFL` nor `SIG_IGN`.
pub(super) fn is_handler(handler: usize) -> bool {
    handler != libc::SIG_DFL && handler != libc::SIG_IGN
}
