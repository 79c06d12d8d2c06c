//! Over code without unwind information: the caller's frame is looked for on the stack.
//!
//! The C library of musl has none, nor has code of a just-in-time compiler, nor assembler. Where a walk
//! ends in such code, the words above are read: a return address follows a call, that leads to the
//! function without information or cannot be told, and from it the walk must go on to the begin of the
//! thread, with calls that fit. Old words may look the same, but hardly fit all the way; the frame
//! is marked all the same, and nothing is proven by it.

use framehop::FrameAddress;

use super::arch::{Arch, Native, Registers, Target};
use super::unwind::{Walk, Walker};

/// How many words are tried as return addresses, for one stack.
pub(super) const MOST_GUESSES: u32 = 32;
/// How far from the stack pointer the return address is looked for.
const FARTHEST: usize = 16 << 10;
/// How large a function without unwind information is at most.
const LONGEST_FUNCTION: u64 = 64 << 10;

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
        if let Some(outer) = self.caller_on_stack(code, *sp) {
            walk.guessed.push(inside);
            walk.guessed.extend(outer.guessed.iter().map(|at| at + inside));
            walk.addresses.extend(outer.addresses);
            walk.sps.extend(outer.sps);
            walk.is_complete = true;
        }
        walk
    }

    /// The complete walk from the caller of the function at `code`, which runs with that stack pointer:
    /// first from a call of that function, then from one that may be of it.
    fn caller_on_stack(&mut self, code: u64, sp: u64) -> Option<Walk> {
        let (mut of_it, mut of_any) = (Vec::new(), Vec::new());
        for place in self.stack.places(sp).take(FARTHEST / 8) {
            let back = self.stack.word(place).map(|word| word & Native::ADDRESS_BITS);
            let Some(back) = back else { continue };
            match self.images.call_before(back) {
                Some(Target::At(target)) if self.may_contain(target, code) => {
                    of_it.push((place, back));
                }
                Some(Target::In(_) | Target::Somewhere) => of_any.push((place, back)),
                Some(Target::At(_)) | None => {}
            }
        }
        of_it.into_iter().chain(of_any).find_map(|(place, back)| {
            self.guesses = self.guesses.checked_sub(1)?;
            let registers = Registers { fp: None, ..Registers::at(back, place + 8) };
            self.may_search = true;
            let first = FrameAddress::from_return_address(back)?;
            let walk = self.walk(first, Native::regs(registers));
            let walk = self.bridged(walk);
            (walk.is_complete && self.fits(&walk)).then_some(walk)
        })
    }

    /// Whether all are return addresses, and the first function is the one that its caller calls.
    fn fits(&self, walk: &Walk) -> bool {
        let calls = |back: &u64| self.images.call_before(*back);
        // Nothing is known of code that was made at run time.
        let is_called = |back: &u64| !self.images.is_code(*back) || calls(back).is_some();
        let [first, callers @ ..] = walk.addresses.as_slice() else { return false };
        let is_callee = match callers.first().map(calls) {
            Some(Some(Target::At(target))) => self.may_contain(target, first - 1),
            Some(None | Some(Target::In(_) | Target::Somewhere)) | None => true,
        };
        is_callee && callers.iter().all(is_called)
    }

    /// Whether the code may lie in the function that begins at `start`: no other one that is known
    /// begins in between.
    fn may_contain(&self, start: u64, code: u64) -> bool {
        let known = self.images.function_start(code);
        let is_near = start <= code && code - start < LONGEST_FUNCTION;
        known == Some(start) || is_near && known.is_none_or(|known| known < start)
    }
}
