//! Captures by hand, for the bench of what they cost. Not public API.

use std::time::Duration;

use super::images::Images;
use super::names::Names;
use super::still::waits_at;
use super::take::Taker;
use super::unwind::walk;
use crate::clock::now;
use crate::procfs::thread_files::ThreadFiles;
use crate::stack::mode::{Capture, Symbols};
use crate::stack::raw::{RawStack, Way};
use crate::stack::user_frame::OwnCode;
use crate::sys::native::memory::copy;
use crate::sys::native::signal::LONGEST_STACK;

/// A stack without names.
#[derive(Debug)]
pub struct BenchStack {
    /// Whether a signal stopped the thread.
    pub by_signal: bool,
    /// Whether no frame is missing.
    pub is_whole: bool,
    /// How many frames there are, without those of inlined functions.
    pub frames: usize,
    raw: RawStack,
}

/// Returns a function that takes the stack of the thread with that number, on the caller's thread;
/// `None` if that fails.
pub fn bench_captures(mode: Capture) -> impl FnMut(u32) -> Option<BenchStack> {
    let mut taker = Taker::new(mode);
    move |thread| {
        let raw = taker.take(thread, &|| true, Duration::from_secs(10)).stack?;
        let (by_signal, is_whole) = (raw.way == Way::Signal, !raw.partial);
        Some(BenchStack { by_signal, is_whole, frames: raw.frames.len(), raw })
    }
}

/// Returns a function that does the parts of a capture without a signal one by one, and says how
/// long each took: to read what the kernel says of the thread, to copy its stack, to unwind the copy.
/// `None` if the thread does not wait in the kernel.
pub fn bench_capture_parts() -> impl FnMut(u32) -> Option<[Duration; 3]> {
    let (mut images, mut stack) = (Images::default(), vec![0; LONGEST_STACK]);
    move |thread| {
        let begin = now();
        let moment = ThreadFiles::open(thread).ok()?.moment().ok()?;
        let registers = waits_at(&moment).ok()??;
        let read = now();
        let length = copy(registers.sp, &mut stack);
        let copied = now();
        images.refresh();
        drop(walk(&mut images, registers, &stack[..length]));
        let unwound = now();
        Some([read - begin, copied - read, unwound - copied].map(Duration::from_nanos))
    }
}

/// Returns a function that gives the frames of a stack their names, and says how many there are.
pub fn bench_names() -> impl FnMut(&BenchStack) -> usize {
    let mut symbols = Names::new(Symbols::Auto, OwnCode::default(), std::sync::Arc::default());
    move |stack| symbols.symbolize(&stack.raw, |_| true).0.frames.len()
}
