//! Over code without unwind information: the caller's frame is looked for on the stack.
//!
//! The C library of musl has none, nor has code of a just-in-time compiler, nor assembler. Where a walk
//! ends in such code, the words above are read: a return address follows a call, that leads to the
//! function without information or cannot be told, and from it the walk must go on to the begin of the
//! thread, with calls that fit. Old words may look the same, but hardly fit all the way; the frame
//! is marked all the same, and nothing is proven by it.

use framehop::FrameAddress;

use super::arch::{Arch, Native, Target};
use super::unwind::{Walk, Walker};

/// How far from the stack pointer the return address is looked for.
const FARTHEST: usize = 16 << 10;

impl Walker<'_> {
    /// A walk that has ended in code without unwind information, continued if that can be.
    pub(super) fn bridged(&mut self, mut walk: Walk) -> Walk {
        let (Some(last), Some(sp)) = (walk.addresses.last(), walk.sps.last()) else { return walk };
        let inside = walk.addresses.len();
        // Inside of the call, except in the innermost frame.
        let code = last - u64::from(inside > 1);
        if walk.is_complete || self.images.has_unwind_information(code) {
            return walk;
        }
        // Where calls do not push, the innermost function may have no frame: what is on the stack is of
        // others then.
        if !Native::CALLS_PUSH && inside == 1 {
            return walk;
        }
        if self.images.ends_thread(*last) || self.begins_above(*sp) {
            walk.is_complete = true;
        } else if let Some(outer) = self.caller_on_stack(code, *sp) {
            walk.guessed.push(inside);
            walk.append(outer);
        }
        walk
    }

    /// Whether no return address is left on the stack: the program began here.
    fn begins_above(&self, sp: u64) -> bool {
        let is_return = |place| {
            let word = self.stack.word(place).unwrap_or_default();
            self.images.call_before(word & Native::ADDRESS_BITS).is_some()
        };
        self.stack.is_whole() && !self.stack.is_begin(sp) && !self.stack.places(sp).any(is_return)
    }

    /// The complete walk from the caller of the function at `code`, which runs with that stack pointer:
    /// from a call that leads to it, or from an indirect one if that is the first that is met, or lies where the
    /// prologue of the function says.
    fn caller_on_stack(&mut self, code: u64, sp: u64) -> Option<Walk> {
        let stack = self.stack;
        let frame = self.images.frame(code);
        let by_prologue = frame.and_then(|frame| sp.checked_add(frame.back));
        let mut is_first = true;
        for place in stack.places(sp).take(FARTHEST / 8) {
            let Some(back) = stack.word(place).map(|word| word & Native::ADDRESS_BITS) else {
                break;
            };
            let Some(call) = self.images.call_before(back) else { continue };
            let may_be = match call {
                Target::At(target) => self.images.leads_to(target, code),
                Target::In(_) | Target::Somewhere => is_first || by_prologue == Some(place),
            };
            is_first = false;
            if !may_be {
                continue;
            }
            self.guesses = self.guesses.checked_sub(1)?;
            let below = place.checked_sub(8).and_then(|below| stack.word(below));
            let registers = Native::of_caller(back, place, below);
            self.may_search = true;
            let first = FrameAddress::from_return_address(back)?;
            let walk = self.walk(first, Native::regs(registers));
            let walk = self.bridged(walk);
            if walk.is_complete && self.images.is_linked(&walk) {
                return Some(walk);
            }
        }
        None
    }
}
