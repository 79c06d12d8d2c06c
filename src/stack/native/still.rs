//! The registers of a thread with a copy of its stack, and a thread that stands still.

use std::ops::Range;
use std::time::Duration;

use super::pointer_args;
#[cfg(target_arch = "x86_64")]
use super::unwind::Stack;
use crate::procfs::thread::ThreadState;
use crate::procfs::thread_files::{Moment, ThreadFiles};
use crate::sys::native::memory;
use crate::sys::native::signal::{LONGEST_STACK, Registers};
use crate::sys::{futex_wait, system_call};

/// How many times one that moves is looked at,
const LOOKS: usize = 3;
/// and the time between.
const PAUSE: Duration = Duration::from_micros(200);
/// Where in its data about a thread glibc has the id of the thread.
#[cfg(target_arch = "x86_64")]
pub(super) const ID_IN_THREAD: u64 = 0x2d0;
#[cfg(not(target_arch = "x86_64"))]
pub(super) const ID_IN_THREAD: u64 = 0xd0;

/// The registers of a thread that waits in the kernel; `None` if it is on a CPU or ready for one.
///
/// # Errors
///
/// The thread has no stack, as is the case just before it ends.
pub(super) fn waits_at(moment: &Moment) -> Result<Option<Registers>, &'static str> {
    match moment.state() {
        ThreadState::Running => Ok(None),
        ThreadState::Call { stack, code, .. } | ThreadState::Kernel { stack, code }
            if stack != 0 && code != 0 =>
        {
            Ok(Some(Registers::at(code, stack)))
        }
        _ => Err("the thread has no stack"),
    }
}

/// The registers of a thread and a copy of its stack, of one moment.
pub(super) struct StackCopy {
    pub(super) thread: u32,
    pub(super) registers: Registers,
    pub(super) stack: Vec<u8>,
}

/// A thread that waits, as it stood still.
pub(super) struct Still {
    pub(super) copy: StackCopy,
    files: ThreadFiles,
    moment: Moment,
}

impl StackCopy {
    /// Its stack, and where libc's data about it lies, which glibc puts at the outer end of the stack: it
    /// begins with its own address, twice, and has the id of the thread.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn memory(&self) -> (Stack<'_>, Option<u64>) {
        let stack = Stack::new(self.registers.sp, &self.stack);
        let word = |at: u64| stack.word(at);
        let area = stack.places(self.registers.sp).find(|at| {
            word(*at) == Some(*at)
                && word(at + 0x10) == Some(*at)
                && word(at + ID_IN_THREAD).is_some_and(|id| id as u32 == self.thread)
        });
        (stack, area)
    }

    /// Whether a word of its stack is that address.
    pub(super) fn has(&self, address: u64) -> bool {
        let words = self.stack.chunks_exact(8);
        words.into_iter().any(|word| word == address.to_le_bytes())
    }

    /// The words of its stack at those addresses.
    pub(super) fn words(&self, at: Range<u64>) -> impl Iterator<Item = u64> {
        let offset = |address: u64| {
            let offset = address.saturating_sub(self.registers.sp);
            usize::try_from(offset).unwrap_or(usize::MAX).min(self.stack.len())
        };
        let part = self.stack.get(offset(at.start)..offset(at.end)).unwrap_or_default();
        part.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word))
    }
}

impl Still {
    /// `None` if the thread does not wait, or does not stand still in several looks.
    pub(super) fn look(thread: u32) -> Option<Self> {
        (0..LOOKS).find_map(|look| {
            if look > 0 {
                std::thread::sleep(PAUSE);
            }
            Self::glance(thread)
        })
    }

    fn glance(thread: u32) -> Option<Self> {
        let files = ThreadFiles::open(thread).ok()?;
        let moment = files.moment().ok()?;
        let registers = waits_at(&moment).ok()??;
        let mut stack = vec![0; LONGEST_STACK];
        let copied = memory::copy(registers.sp, &mut stack);
        stack.truncate(copied);
        // Many of them may be kept at a time.
        stack.shrink_to_fit();
        let still = Self { copy: StackCopy { thread, registers, stack }, files, moment };
        still.is_still().then_some(still)
    }

    pub(super) fn is_still(&self) -> bool {
        self.files.moment().is_ok_and(|now| now == self.moment)
    }

    /// The word that it waits at, and what that held, if it waits for a word to change.
    pub(super) fn futex(&self) -> Option<(u64, u32)> {
        match self.moment.state() {
            ThreadState::Call { number, arguments, .. } => futex_wait(number, &arguments),
            _ => None,
        }
    }

    pub(super) fn waits_in(&self) -> Option<String> {
        let state = self.moment.state();
        let given = pointer_args::of_call(&state).map(|(_, given)| given).unwrap_or_default();
        match state {
            ThreadState::Call { number, arguments, .. } => {
                Some(format!("{}{given}", system_call(number, &arguments).0))
            }
            _ => None,
        }
    }
}
