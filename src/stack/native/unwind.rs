//! From a copied stack to the addresses of its frames.
//!
//! Of a thread that waits in the kernel the frame pointer is not known. Most frames do without it:
//! their rule goes by the stack pointer. Where one needs it, it is the place where that function has
//! kept its caller's frame pointer, just below its return address, so the stack is searched for it (see
//! [`Walker::search`]).
//!
//! Unwinding goes by what compilers write down for exceptions, so it is as right as that is. Known
//! to be wrong: a thread in the middle of landing after a panic, whose own unwinder has changed the
//! stack already.

use framehop::{FrameAddress, Unwinder};

use super::arch::{Arch, Native, Registers, Target};
use super::images::Images;

type UnwindRegs = <<Native as Arch>::Unwinder as Unwinder>::UnwindRegs;
type Cache = <<Native as Arch>::Unwinder as Unwinder>::Cache;

/// More frames than that are left out.
const MOST_FRAMES: usize = 512;
/// More places than that are not tried for one frame.
const MOST_CANDIDATES: usize = 64;
/// Stands for a frame pointer that is not known: no address of the user's half of memory is near, so
/// a read near it tells that the rule needed the frame pointer.
const UNKNOWN: u64 = 1 << 62;
const NEAR: u64 = 1 << 32;

/// What was copied of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) registers: Registers,
    /// Whether the frame pointer among them is right; else it is ignored.
    pub(super) knows_fp: bool,
    /// From the stack pointer outward.
    pub(super) stack: &'a [u8],
}

/// The frames, innermost first: the address where the thread is, then return addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) addresses: Vec<u64>,
    pub(super) end: End,
}

/// Where a walk has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Where the thread began: the function there has no caller, says its unwind information.
    Root,
    /// Outside of what was copied.
    Outside,
    /// At something that cannot be unwound, or after very many frames.
    Lost,
}

impl Walk {
    /// Whether no frame is missing.
    pub(super) fn is_complete(&self) -> bool {
        self.end == End::Root
    }
}

/// Unwinds the copy.
pub(super) fn walk(images: &mut Images, snapshot: Snapshot<'_>) -> Walk {
    let Snapshot { registers, knows_fp, stack } = snapshot;
    let fp = if knows_fp { registers.fp } else { UNKNOWN };
    let stack = Stack { begin: registers.sp, bytes: stack };
    let first = FrameAddress::from_instruction_pointer(registers.ip);
    let mut walker = Walker { images, stack, may_search: !knows_fp };
    walker.walk(first, Native::regs(Registers { fp, ..registers }))
}

#[derive(Clone, Copy)]
struct Stack<'a> {
    begin: u64,
    bytes: &'a [u8],
}

struct Walker<'a> {
    images: &'a mut Images,
    stack: Stack<'a>,
    /// One search at most, and none within it: from there on the frame pointer is known.
    may_search: bool,
}

enum Step {
    Frame(FrameAddress),
    NeedsFp,
    End(End),
}

impl Stack<'_> {
    fn word(self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.begin)?).ok()?;
        let word = self.bytes.get(at..at.checked_add(8)?)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    }

    /// The aligned addresses from `begin` on that have two words.
    fn places(self, begin: u64) -> impl Iterator<Item = u64> {
        let end = self.begin.saturating_add(self.bytes.len() as u64);
        let begin = begin.checked_next_multiple_of(8).unwrap_or(end);
        (begin..end.saturating_sub(15)).step_by(8)
    }
}

impl Walker<'_> {
    fn walk(&mut self, first: FrameAddress, mut registers: UnwindRegs) -> Walk {
        let mut walk = Walk { addresses: vec![first.address()], end: End::Lost };
        let mut frame = first;
        // Not kept for later: a rule that could not be applied leaves a poorer one in the cache.
        let mut cache = Native::cache();
        while walk.addresses.len() < MOST_FRAMES {
            let sp = Native::sp(&registers);
            match self.step(frame, &mut registers, &mut cache) {
                Step::Frame(next) => {
                    walk.addresses.push(next.address());
                    frame = next;
                }
                Step::End(end) => {
                    walk.end = end;
                    break;
                }
                Step::NeedsFp => {
                    if let Some(outer) = self.search(frame, sp) {
                        walk.addresses.extend(&outer.addresses[1..]);
                        walk.end = outer.end;
                    }
                    break;
                }
            }
        }
        walk
    }

    fn step(&mut self, frame: FrameAddress, registers: &mut UnwindRegs, cache: &mut Cache) -> Step {
        self.images.meet(frame.address_for_lookup());
        let (mut reads, mut needs_fp, mut outside) = (0, false, false);
        let stack = self.stack;
        let mut read = |address: u64| {
            reads += 1;
            let word = stack.word(address);
            needs_fp |= address.abs_diff(UNKNOWN) < NEAR;
            outside |= word.is_none();
            word.ok_or(())
        };
        let step = self.images.unwinder.unwind_frame(frame, registers, cache, &mut read);
        match step.map(|next| next.map(FrameAddress::from_return_address)) {
            _ if needs_fp => Step::NeedsFp,
            Ok(Some(Some(next))) => Step::Frame(next),
            // A return address of 0 that was read somewhere is no root, nor is a
            // frame pointer of 0.
            Ok(None) if reads == 0 && Native::fp(registers) != UNKNOWN => {
                let mut other = Native::with_fp(registers, UNKNOWN);
                match self.step(frame, &mut other, cache) {
                    Step::End(End::Root) => Step::End(End::Root),
                    _ => Step::End(End::Lost),
                }
            }
            Ok(None) if reads == 0 => Step::End(End::Root),
            Err(_) if outside => Step::End(End::Outside),
            Ok(_) | Err(_) => Step::End(End::Lost),
        }
    }

    /// Finds the frame of the function at `frame`, whose stack pointer is `sp`: a word X for which
    /// X + 8 holds a return address.
    ///
    /// Old words may look alike. Most functions tell by how they begin where X is. Of other words a
    /// call that goes to this very function is preferred to one whose target is not known, and
    /// that one to a call of another function, which may have jumped here; of equals the innermost
    /// is taken whose chain ends where a thread begins. On a stack that is longer than the copy, or
    /// not the thread's own, no chain does; then the best of what is certain has to do.
    fn search(&mut self, frame: FrameAddress, sp: u64) -> Option<Walk> {
        if !std::mem::take(&mut self.may_search) {
            return None;
        }
        let start = self.images.function_start(frame.address_for_lookup());
        let size = start.and_then(|start| self.images.frame_size(start));
        let mut best = self.first_chain(frame, sp, size.map(|size| sp.wrapping_add(size)));
        if best.as_ref().is_some_and(Walk::is_complete) {
            return best;
        }
        let (mut of_this, mut of_unknown, mut of_others) = (Vec::new(), Vec::new(), Vec::new());
        for place in self.stack.places(sp) {
            let target = self
                .stack
                .word(place + 8)
                .and_then(|word| self.images.call_before(word & Native::ADDRESS_BITS));
            match target {
                None => {}
                Some(Target::At(target)) if Some(target) == start => of_this.push(place),
                Some(Target::At(_)) => of_others.push(place),
                Some(Target::In(_) | Target::Somewhere) => of_unknown.push(place),
            }
        }
        match self.first_chain(frame, sp, of_this) {
            Some(walk) if walk.is_complete() => return Some(walk),
            other => best = best.or(other),
        }
        let uncertain = of_unknown.into_iter().chain(of_others);
        best.or_else(|| self.first_chain(frame, sp, uncertain).filter(Walk::is_complete))
    }

    /// Tries these places for the frame pointer: the first whose chain is complete, else the first.
    fn first_chain(
        &mut self,
        frame: FrameAddress,
        sp: u64,
        places: impl IntoIterator<Item = u64>,
    ) -> Option<Walk> {
        let mut first = None;
        for place in places.into_iter().take(MOST_CANDIDATES) {
            match self.try_place(frame, sp, place) {
                Some(walk) if walk.is_complete() => return Some(walk),
                other => first = first.or(other),
            }
        }
        first
    }

    /// Unwinds from `frame` on with this frame pointer, unless that leads to what no call returns to.
    fn try_place(&mut self, frame: FrameAddress, sp: u64, fp: u64) -> Option<Walk> {
        let walk =
            self.walk(frame, Native::regs(Registers { fp, ..Registers::at(frame.address(), sp) }));
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
            let registers = Registers { fp: word(), ..Registers::at(word(), sp) };
            let snapshot = Snapshot { registers, knows_fp: round % 2 == 0, stack: &stack };
            let walk = walk(&mut images, snapshot);
            assert!((1..=MOST_FRAMES + 1).contains(&walk.addresses.len()));
        }
    }

    #[test]
    fn no_stack_is_one_frame() {
        let ip = walk as *const () as u64;
        for (sp, knows_fp) in [(0, true), (u64::MAX, true), (u64::MAX - 8, false)] {
            let registers = Registers { fp: sp, ..Registers::at(ip, sp) };
            let walk = walk(&mut images(), Snapshot { registers, knows_fp, stack: &[] });
            assert_eq!((walk.addresses.as_slice(), walk.is_complete()), (&[ip][..], false));
        }
    }
}
