//! Who has called the innermost function, where its return address was in a register alone.
//!
//! So it is on aarch64: a wrapper of a system call has no frame, and the kernel shows no link register of
//! a thread that waits. The function that has called it has a frame at the same stack pointer. It
//! is looked for among the functions that the return addresses on the stack say were called. It is
//! the one of which all of this holds:
//!
//! - a call in it leads to the innermost function;
//! - by its unwind information, at that call, its own return address is where that one was found;
//! - so on as far as the stack can be followed: each return address follows a call that leads to the function inside,
//!   as far as calls tell.
//!
//! What earlier calls have left on the stack may look like a stack, but hardly passes all of it. If two do,
//! none is taken. Calls through pointers do not tell where they lead, so a caller that was called
//! itself through one is not found: then the stack ends here.

use framehop::FrameAddress;

use super::arch::{Arch, Native, Registers, Target};
use super::bytes::read;
use super::images::{Images, Known, resolve};
use super::unwind::{Walk, Walker};

/// How far from the stack pointer the return address of the caller is looked for.
const FARTHEST: usize = 16 << 10;
/// Longer functions are not searched for calls.
const LONGEST_FUNCTION: u64 = 64 << 10;
/// The same, where the first instructions do not show whether the frame fits.
const LONGEST_UNSURE: u64 = 4 << 10;
/// How many functions may become one another by jumps.
const MOST_REACHED: usize = 16;
/// How many functions have that remembered.
const MOST_REMEMBERED: usize = 1024;

impl Walker<'_> {
    /// The walk from the caller of the function without a frame at `leaf`. The stack pointer of the caller
    /// is `sp`.
    pub(super) fn caller_of_leaf(&mut self, leaf: FrameAddress, sp: u64) -> Option<Walk> {
        if leaf.is_return_address() {
            return None;
        }
        let leaf = self.images.function_start(leaf.address_for_lookup())?;
        let (mut tried, mut found) = (Vec::new(), Vec::<Walk>::new());
        let stack = self.stack;
        for place in stack.places(sp).take(FARTHEST / 8) {
            let back = stack.word(place + 8).unwrap_or_default() & Native::ADDRESS_BITS;
            let Some(Target::At(target)) = self.images.call_before(back) else { continue };
            for function in self.images.reached(target) {
                if tried.contains(&(function, back)) {
                    continue;
                }
                tried.push((function, back));
                let walk = self.walk_from(function, leaf, sp, (place - sp, back));
                found.extend(walk);
            }
        }
        let is_whole = found.iter().any(|walk| walk.is_complete);
        found.retain(|walk| walk.is_complete == is_whole);
        if found.len() == 1 { found.pop() } else { None }
    }

    /// The walk from the function that begins at `caller`, if it may have called the one at `leaf`, and has
    /// its frame record at that distance from the stack pointer and that return address in it.
    fn walk_from(
        &mut self,
        caller: u64,
        leaf: u64,
        sp: u64,
        (distance, back): (u64, u64),
    ) -> Option<Walk> {
        let size = self.images.frame_size(caller);
        if size.is_some_and(|size| size != distance) {
            return None;
        }
        let longest = if size.is_some() { LONGEST_FUNCTION } else { LONGEST_UNSURE };
        let calls = self.images.calls(caller, leaf, longest);
        let mut walks = calls.iter().filter_map(|call| {
            self.may_search = true;
            let frame = FrameAddress::from_return_address(*call)?;
            let walk = self.walk(frame, Native::regs(Registers::at(*call, sp)));
            let walk = self.bridged(walk);
            let fits = walk.addresses.get(1) == Some(&back) && self.images.is_linked(&walk);
            fits.then_some(walk)
        });
        let mut walk = walks.next()?;
        let others: Vec<_> = walks.collect();
        if others.iter().any(|other| other.addresses[1..] != walk.addresses[1..]) {
            return None;
        }
        if !others.is_empty() {
            // It is this function, but not known which of its calls: so its first line is named.
            walk.addresses[0] = caller + Native::CODE_ALIGN as u64;
            walk.guessed.push(0);
        }
        Some(walk)
    }
}

impl Images {
    /// Whether each address follows a call that leads to the function of the one before, or may.
    pub(super) fn is_linked(&mut self, walk: &Walk) -> bool {
        walk.addresses.windows(2).all(|pair| {
            let (inside, back) = (pair[0] - 1, pair[1]);
            match self.call_before(back) {
                // Nothing is known of code that was made at run time. But it is no end.
                None => walk.is_complete && !self.is_code(back),
                Some(Target::In(_) | Target::Somewhere) => true,
                Some(Target::At(target)) => {
                    self.load(inside);
                    let start = self.function_start(inside);
                    start.is_some_and(|start| self.reached(target).contains(&start))
                        || self.leads_to(target, inside)
                }
            }
        })
    }

    /// The function that begins at `target`, and those that it may become by a jump.
    fn reached(&mut self, target: u64) -> Vec<u64> {
        if let Some(known) = self.reach.get(&target) {
            return known.clone();
        }
        let mut reached = vec![target];
        let mut at = 0;
        while at < reached.len() && reached.len() < MOST_REACHED {
            for next in self.jumps_out(reached[at]) {
                if !reached.contains(&next) {
                    reached.push(next);
                }
            }
            at += 1;
        }
        reached.truncate(MOST_REACHED);
        if self.reach.len() >= MOST_REMEMBERED {
            self.reach.clear();
        }
        self.reach.insert(target, reached.clone());
        reached
    }

    /// Where the jumps lead that leave the function that begins at `start`.
    fn jumps_out(&mut self, start: u64) -> Vec<u64> {
        let Some(code) = self.code_of(start, LONGEST_FUNCTION) else { return Vec::new() };
        let end = start + code.len() as u64;
        let mut out = Vec::new();
        for index in (0..code.len()).step_by(Native::CODE_ALIGN) {
            let to = Native::branch(start + index as u64, &code[index..]);
            let Some(to) = to.filter(|to| !(start..end).contains(to)) else { continue };
            if let Target::At(to) = resolve(Target::At(to))
                && !out.contains(&to)
            {
                out.push(to);
            }
        }
        out
    }

    /// The return addresses of the calls in the function that begins at `caller` which lead to the one that
    /// begins at `leaf`.
    fn calls(&mut self, caller: u64, leaf: u64, longest: u64) -> Vec<u64> {
        let Some(code) = self.code_of(caller, longest) else { return Vec::new() };
        let mut calls = Vec::new();
        for end in (Native::CODE_ALIGN..=code.len()).step_by(Native::CODE_ALIGN) {
            let address = caller + end as u64;
            let before = &code[end.saturating_sub(Native::LONGEST_CALL)..end];
            let target = Native::call_before(address, before).map(resolve);
            if let Some(Target::At(target)) = target
                && self.reached(target).contains(&leaf)
            {
                calls.push(address);
            }
        }
        calls
    }

    /// The code of the function that begins at `start`, if it is not longer than that.
    fn code_of(&mut self, start: u64, longest: u64) -> Option<Vec<u8>> {
        self.load(start);
        let Known { start: begin, length } = self.function(start)?;
        let end = start.checked_add(length?)?;
        if begin == start { read(&(start..end), longest) } else { None }
    }
}
