//! Captures by hand, for the bench of what they take. Not public API.

use std::fmt;
use std::time::Duration;

use super::images::Images;
use super::take::{Position, Taker, position};
use super::unwind::{Snapshot, walk};
use crate::clock::{Nanos, now};
use crate::procfs::thread_files::ThreadFiles;
use crate::stack::mode::Capture;
use crate::stack::raw::{RawStack, Way};
use crate::stack::symbols::Symbols;
use crate::sys::native::memory::copy;
use crate::sys::native::signal::LONGEST_STACK;

/// How long the answer to a signal is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Takes stacks of threads of this process, on the caller's thread.
pub struct BenchCaptures {
    taker: Taker,
    images: Images,
    copied: Vec<u8>,
    symbols: Symbols,
}

/// A stack without names.
#[derive(Debug)]
pub struct BenchStack(RawStack);

/// What the parts of a capture without a signal took.
#[derive(Clone, Copy, Debug)]
pub struct BenchParts {
    /// To open and read what the kernel says of the thread.
    pub look: Duration,
    /// To copy its stack.
    pub copy: Duration,
    /// To unwind the copy.
    pub unwind: Duration,
}

impl BenchCaptures {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(mode: Capture) -> Self {
        let (images, symbols) = (Images::default(), Symbols::default());
        Self { taker: Taker::new(mode), images, copied: vec![0; LONGEST_STACK], symbols }
    }

    /// The kernel's number of the calling thread.
    #[must_use]
    pub fn this_thread() -> u32 {
        crate::sys::thread_id()
    }

    /// Takes the stack of the thread with that number; `None` where that does not work.
    pub fn take(&mut self, thread: u32) -> Option<BenchStack> {
        self.taker.take(thread, &|| true, PATIENCE).stack.map(BenchStack)
    }

    /// Does the parts of it one by one; `None` where the thread does not wait in the kernel.
    pub fn parts(&mut self, thread: u32) -> Option<BenchParts> {
        let begin = now();
        let moment = ThreadFiles::open(thread).ok()?.moment().ok()?;
        let Ok(Position::Waits(registers)) = position(&moment) else { return None };
        let looked = now();
        let length = copy(registers.sp, &mut self.copied);
        let copied = now();
        self.images.refresh();
        let stack = &self.copied[..length];
        drop(walk(&mut self.images, Snapshot { registers, knows_fp: false, stack }));
        let unwound = now();
        let part = |from: Nanos, to: Nanos| Duration::from_nanos(to - from);
        Some(BenchParts {
            look: part(begin, looked),
            copy: part(looked, copied),
            unwind: part(copied, unwound),
        })
    }

    /// Gives the frames their names, and says how many there are.
    pub fn symbolize(&mut self, stack: &BenchStack) -> usize {
        self.symbols.symbolize(&stack.0).frames.len()
    }
}

impl BenchStack {
    /// Whether a signal stopped the thread.
    #[must_use]
    pub fn by_signal(&self) -> bool {
        self.0.way == Way::Signal
    }

    /// Whether no frame is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.0.partial
    }

    /// How many frames there are, those of inlined functions not counted.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.0.frames.len()
    }
}

impl fmt::Debug for BenchCaptures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BenchCaptures").finish_non_exhaustive()
    }
}
