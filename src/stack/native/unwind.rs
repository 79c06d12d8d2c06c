//! From a copied stack to the addresses of its frames.
//!
//! The frame pointer of a thread that waits in the kernel is not known. Most frames do not need it:
//! their unwind rule uses the stack pointer. Where a rule needs it, its value is the address at
//! which that function has saved its caller's frame pointer, just below its return address, so the
//! stack is searched for that address (see [`Walker::search`]).
//!
//! Unwinding relies on what compilers emit for exceptions, and is only as correct as that. One case
//! is known to be wrong: while a panic is on its way up, the thread's own unwinder has changed the
//! stack already.

use std::panic::{self, AssertUnwindSafe};

use framehop::{FrameAddress, Unwinder};

use super::arch::{Arch, Frame, Native, Registers, Target, UNKNOWN_FP, UNKNOWN_LR, UnwindRegs};
use super::images::Images;
use crate::sys::native::signal::LONGEST_STACK;

type Regs = UnwindRegs<Native>;
type Cache = <<Native as Arch>::Unwinder as Unwinder>::Cache;

/// The most frames of a stack. The rest is left out.
const MOST_FRAMES: usize = 512;
/// The most addresses that are tried as the frame pointer of one frame.
const MOST_CANDIDATES: usize = 64;
/// The most words of a stack that are tried as return addresses of functions without unwind information.
const MOST_GUESSES: u32 = 32;
/// A read closer to [`UNKNOWN_FP`] than this shows that a rule needed the frame pointer.
const NEAR: u64 = 1 << 32;

/// The frames, innermost first: the address where the thread is, then return addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) addresses: Vec<u64>,
    /// The stack pointer in each.
    pub(super) sps: Vec<u64>,
    /// Which frames were found by a look at the stack, where the frame inside has no unwind information.
    pub(super) guessed: Vec<usize>,
    /// Whether it ends where the thread began, in a function that has no caller by its unwind
    /// information. Otherwise outer frames are missing.
    pub(super) is_complete: bool,
}

/// Unwinds the copy of a stack, which starts at the stack pointer.
pub(super) fn walk(images: &mut Images, registers: Registers, stack: &[u8]) -> Walk {
    let stack = Stack { begin: registers.sp, bytes: stack };
    let first = FrameAddress::from_instruction_pointer(registers.ip);
    let may_search = registers.fp.is_none();
    let mut walker = Walker { images, stack, may_search, guesses: MOST_GUESSES };
    let walk = walker.walk(first, Native::regs(registers));
    walker.bridged(walk)
}

impl Walk {
    /// The walk that goes on from the end of this one.
    pub(super) fn append(&mut self, outer: Self) {
        let inside = self.addresses.len();
        self.guessed.extend(outer.guessed.iter().map(|at| at + inside));
        self.addresses.extend(outer.addresses);
        self.sps.extend(outer.sps);
        self.is_complete = outer.is_complete;
    }
}

#[derive(Clone, Copy)]
pub(super) struct Stack<'a> {
    begin: u64,
    bytes: &'a [u8],
}

pub(super) struct Walker<'a> {
    pub(super) images: &'a mut Images,
    pub(super) stack: Stack<'a>,
    /// One search at most, and none within it: from there on the frame pointer is known.
    pub(super) may_search: bool,
    /// How many more words may be tried as return addresses of functions without unwind information.
    pub(super) guesses: u32,
}

enum Step {
    Frame(FrameAddress),
    /// By the instructions of a function without unwind information.
    ByPrologue(FrameAddress),
    NeedsFp,
    /// The return address is in the link register, which is not known.
    NeedsLr,
    /// The thread began here.
    Root,
    /// The caller lies outside of the copy, or cannot be found.
    Lost,
}

impl<'a> Stack<'a> {
    /// A copy that begins at that address.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn new(begin: u64, bytes: &'a [u8]) -> Self {
        Self { begin, bytes }
    }

    /// So many bytes at `address`, if all of them were copied.
    pub(super) fn part(self, address: u64, length: usize) -> Option<&'a [u8]> {
        let at = usize::try_from(address.checked_sub(self.begin)?).ok()?;
        self.bytes.get(at..at.checked_add(length)?)
    }
}

impl Stack<'_> {
    /// Whether all of it was copied, to where its memory ends.
    pub(super) fn is_whole(self) -> bool {
        self.bytes.len() < LONGEST_STACK
    }

    /// Whether the innermost frame has that stack pointer.
    pub(super) fn is_begin(self, sp: u64) -> bool {
        sp == self.begin
    }

    pub(super) fn word(self, address: u64) -> Option<u64> {
        self.part(address, 8)?.first_chunk().map(|word| u64::from_le_bytes(*word))
    }

    /// The aligned addresses from `begin` on at which there are two words.
    pub(super) fn places(self, begin: u64) -> impl Iterator<Item = u64> {
        let end = self.begin.saturating_add(self.bytes.len() as u64);
        let begin = begin.checked_next_multiple_of(8).unwrap_or(end);
        (begin..end.saturating_sub(15)).step_by(8)
    }
}

impl Walker<'_> {
    pub(super) fn walk(&mut self, first: FrameAddress, mut registers: Regs) -> Walk {
        let mut walk = Walk {
            addresses: vec![first.address()],
            sps: vec![Native::sp(&registers)],
            guessed: Vec::new(),
            is_complete: false,
        };
        let mut frame = first;
        // Not kept for later: a rule that could not be applied leaves a poorer one in the cache.
        let mut cache = Cache::default();
        while walk.addresses.len() < MOST_FRAMES {
            let sp = Native::sp(&registers);
            let step = self.step(frame, &mut registers, &mut cache);
            if matches!(step, Step::ByPrologue(_)) {
                walk.guessed.push(walk.addresses.len());
            }
            match step {
                Step::Frame(next) | Step::ByPrologue(next) => {
                    walk.addresses.push(next.address());
                    walk.sps.push(Native::sp(&registers));
                    frame = next;
                    continue;
                }
                Step::NeedsFp => {
                    let outer = self.search(frame, sp);
                    // A record that was left behind looks the same where calls do not push.
                    let fits = |walk: &Walk| Native::CALLS_PUSH || self.images.is_linked(walk);
                    if let Some(outer) = outer.filter(fits) {
                        // It begins with this frame.
                        walk.addresses.pop();
                        walk.sps.pop();
                        walk.append(outer);
                    }
                }
                Step::NeedsLr => {
                    let sp = Native::sp(&registers);
                    if let Some(outer) = self.caller_of_leaf(frame, sp) {
                        walk.append(outer);
                    }
                }
                Step::Root => walk.is_complete = true,
                Step::Lost => {
                    if let Some(outer) = self.caller_of_bare(frame, &registers) {
                        walk.append(outer);
                    }
                }
            }
            break;
        }
        walk
    }

    fn step(&mut self, frame: FrameAddress, registers: &mut Regs, cache: &mut Cache) -> Step {
        self.images.load(frame.address_for_lookup());
        if !self.images.has_unwind_information(frame.address_for_lookup()) {
            // What would be taken for its frame is none.
            return self.by_prologue(frame, registers).unwrap_or(Step::Lost);
        }
        let (mut reads, mut needs_fp) = (0, false);
        let stack = self.stack;
        let mut read = |address: u64| {
            reads += 1;
            needs_fp |= address.abs_diff(UNKNOWN_FP) < NEAR;
            stack.word(address).ok_or(())
        };
        let unwinder = &self.images.unwinder;
        // Where overflows are checked, framehop panics for a frame that would begin before address 8.
        let step = panic::catch_unwind(AssertUnwindSafe(|| {
            unwinder.unwind_frame(frame, registers, cache, &mut read)
        }));
        let Ok(step) = step else { return Step::Lost };
        match step.map(|next| next.map(FrameAddress::from_return_address)) {
            _ if needs_fp => Step::NeedsFp,
            Ok(Some(Some(next))) if !Native::CALLS_PUSH && next.address() == UNKNOWN_LR => {
                Step::NeedsLr
            }
            Ok(Some(Some(next))) => Step::Frame(next),
            // No root if the return address of 0 was read from somewhere, or comes from a frame
            // pointer of 0.
            Ok(None) if reads == 0 && Native::fp(registers) != UNKNOWN_FP => {
                let mut other = Native::with_fp(registers, UNKNOWN_FP);
                match self.step(frame, &mut other, cache) {
                    Step::Root => Step::Root,
                    _ => Step::Lost,
                }
            }
            Ok(None) if reads == 0 => Step::Root,
            Ok(_) | Err(_) => Step::Lost,
        }
    }

    /// From a function without unwind information to its caller, where calls do not push: such a function keeps its
    /// return address and its caller's frame pointer side by side, as its first instructions show. The call
    /// before the return address has to lead to it.
    fn by_prologue(&mut self, frame: FrameAddress, registers: &mut Regs) -> Option<Step> {
        if Native::CALLS_PUSH {
            return None;
        }
        let address = frame.address_for_lookup();
        let Frame { back, fp, size, always } = self.images.frame(address)?;
        let (sp, known_fp) = (Native::sp(registers), Native::fp(registers));
        let record = sp.checked_add(fp?)?;
        if known_fp != UNKNOWN_FP && known_fp != record {
            return None;
        }
        let fp = self.stack.word(record);
        let back = self.stack.word(sp.checked_add(back)?)? & Native::ADDRESS_BITS;
        // One that has called another has its frame.
        let has_it = frame.is_return_address();
        if has_it && (back, fp) == (0, Some(0)) {
            return Some(Step::Root);
        }
        let call = self.images.call_before(back)?;
        let is_told = has_it || always || matches!(call, Target::At(_));
        if !is_told || self.images.may_call(back, address) != Some(true) {
            return None;
        }
        *registers = Native::regs(Registers { fp, ..Registers::at(back, sp.checked_add(size)?) });
        FrameAddress::from_return_address(back).map(Step::ByPrologue)
    }

    /// Searches the stack for the frame of the function at `frame`, whose stack pointer is `sp`: an
    /// address X such that the word at X + 8 is a return address.
    ///
    /// Old words may look the same. The prologue of most functions shows where X is, so that
    /// candidate comes first. Then come words that return from a call of this very function, then
    /// those from a call whose target is not known, then those from a call of another function,
    /// which may have jumped here. Among equals the innermost wins whose chain is complete. No chain
    /// is complete if the stack is longer than the copy, or not the thread's own; then the first
    /// chain of the first two kinds is the answer.
    fn search(&mut self, frame: FrameAddress, sp: u64) -> Option<Walk> {
        if !std::mem::take(&mut self.may_search) {
            return None;
        }
        let start = self.images.function_start(frame.address_for_lookup());
        let size = start.and_then(|start| self.images.frame_size(start));
        let by_prologue = self.first_chain(frame, sp, size.map(|size| sp.wrapping_add(size)));
        if by_prologue.as_ref().is_some_and(|walk| walk.is_complete) {
            return by_prologue;
        }
        let (mut of_this, mut of_unknown, mut of_others) = (Vec::new(), Vec::new(), Vec::new());
        for place in self.stack.places(sp) {
            let back = self.stack.word(place + 8);
            match back.and_then(|word| self.images.call_before(word & Native::ADDRESS_BITS)) {
                None => {}
                Some(Target::At(target)) if Some(target) == start => of_this.push(place),
                Some(Target::At(_)) => of_others.push(place),
                Some(Target::In(_) | Target::Somewhere) => of_unknown.push(place),
            }
        }
        let by_call = self.first_chain(frame, sp, of_this);
        if by_call.as_ref().is_some_and(|walk| walk.is_complete) {
            return by_call;
        }
        let uncertain = of_unknown.into_iter().chain(of_others);
        by_prologue
            .or(by_call)
            .or_else(|| self.first_chain(frame, sp, uncertain).filter(|walk| walk.is_complete))
    }

    /// Tries these addresses as the frame pointer: the first whose chain is complete, else the first
    /// that has a chain.
    fn first_chain(
        &mut self,
        frame: FrameAddress,
        sp: u64,
        places: impl IntoIterator<Item = u64>,
    ) -> Option<Walk> {
        let mut first = None;
        for place in places.into_iter().take(MOST_CANDIDATES) {
            match self.chain(frame, sp, place) {
                Some(walk) if walk.is_complete => return Some(walk),
                other => first = first.or(other),
            }
        }
        first
    }

    /// Unwinds from `frame` with this frame pointer. `None` if a frame is not the return address of
    /// a call.
    fn chain(&mut self, frame: FrameAddress, sp: u64, fp: u64) -> Option<Walk> {
        let registers = Registers { fp: Some(fp), ..Registers::at(frame.address(), sp) };
        let walk = self.walk(frame, Native::regs(registers));
        let is_called = |back: &u64| self.images.call_before(*back).is_some();
        let is_chain = walk.addresses.len() > 1 && walk.addresses[1..].iter().all(is_called);
        is_chain.then_some(walk)
    }
}

#[cfg(test)]
mod tests {
    use super::super::images::tests::images;
    use super::*;

    /// Numbers without an order.
    fn random(seed: &mut u64) -> u64 {
        *seed =
            seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        *seed >> 16
    }

    #[test]
    fn a_stack_of_junk_ends_somewhere() {
        let mut images = images();
        let code = walk as *const () as u64;
        let sp = 0x7000_0000_0000;
        let mut seed = 1;
        for round in 0..300 {
            // Addresses of code and of the stack itself, now and then anything.
            let mut word = || match random(&mut seed) % 8 {
                0..4 => code.wrapping_add_signed(random(&mut seed) as i64 % 1_000_000 - 500_000),
                4..7 => sp + random(&mut seed) % 4096,
                _ => random(&mut seed),
            };
            let words: Vec<u64> = (0..512).map(|_| word()).collect();
            let stack: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let fp = (round % 2 == 0).then(&mut word);
            let registers = Registers { fp, ..Registers::at(word(), sp) };
            let walk = walk(&mut images, registers, &stack);
            assert!((1..=MOST_FRAMES + 1).contains(&walk.addresses.len()));
        }
    }

    #[test]
    fn no_stack_is_one_frame() {
        let ip = walk as *const () as u64;
        for (sp, knows_fp) in [(0, true), (u64::MAX, true), (u64::MAX - 8, false)] {
            let fp = knows_fp.then_some(sp);
            let registers = Registers { fp, ..Registers::at(ip, sp) };
            let walk = walk(&mut images(), registers, &[]);
            assert_eq!((walk.addresses.as_slice(), walk.is_complete), (&[ip][..], false));
        }
    }
}
