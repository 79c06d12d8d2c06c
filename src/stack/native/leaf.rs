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
//! What earlier calls have left on the stack may look like a stack, and at times passes all of it: a function
//! that has returned, whose frame lay where that of the next call lies now. So if two pass, one of them is
//! refuted by where it had kept registers: who has left a return address there was called later. If neither is,
//! or a caller may just as well be in a call through a pointer, none is taken. Calls through pointers do not
//! tell where they lead, so a caller that was called itself through one is not found: then the stack ends here.

use framehop::FrameAddress;

use super::arch::{Arch, Native, Registers, Target, UnwindRegs};
use super::bytes::read;
use super::images::{Images, Known, Reach, resolve};
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
/// How many callers are asked whether they may be in another call.
const CALLERS_ASKED: usize = 2;

/// A walk from a function that may have called the innermost one.
struct Caller {
    walk: Walk,
    /// Where its frame record lies.
    record: u64,
    /// Where it keeps registers of its own caller.
    kept: Vec<u64>,
}

impl Walker<'_> {
    /// The walk from the caller of the function without a frame at `leaf`. The stack pointer of the caller
    /// is `sp`.
    pub(super) fn caller_of_leaf(&mut self, leaf: FrameAddress, sp: u64) -> Option<Walk> {
        if leaf.is_return_address() {
            return None;
        }
        let leaf = self.images.begin(leaf.address_for_lookup())?;
        self.caller_of(leaf, sp)
    }

    /// The same of the function that begins at `leaf`.
    fn caller_of(&mut self, leaf: u64, sp: u64) -> Option<Walk> {
        let (mut tried, mut found) = (Vec::new(), Vec::<Caller>::new());
        let stack = self.stack;
        for record in stack.places(sp).take(FARTHEST / 8) {
            let back = stack.word(record + 8).unwrap_or_default() & Native::ADDRESS_BITS;
            let Some(Target::At(target)) = self.images.call_before(back) else { continue };
            for function in self.images.reached(target).functions {
                let size = self.images.frame_size(function);
                let is_elsewhere = size.is_some_and(|size| size != record - sp);
                if is_elsewhere || tried.contains(&(function, back)) {
                    continue;
                }
                tried.push((function, back));
                let longest = if size.is_some() { LONGEST_FUNCTION } else { LONGEST_UNSURE };
                let calls = self.images.calls(function, leaf, longest);
                found.extend(self.caller(function, &calls, (sp, record), back));
            }
        }
        let is_whole = found.iter().any(|caller| caller.walk.is_complete);
        found.retain(|caller| caller.walk.is_complete == is_whole);
        let records: Vec<u64> = found.iter().map(|caller| caller.record).collect();
        found.retain(|Caller { record, kept, .. }| {
            let mut others = records.iter().filter(|other| *other != record);
            !others.any(|other| kept.contains(other) || kept.contains(&(other + 8)))
        });
        let walk = if found.len() == 1 { found.pop()?.walk } else { return None };
        (!self.may_be_in_another_call(&walk, sp)).then_some(walk)
    }

    /// The walk from the function that begins at `function`, by the first of these calls in it that fits its frame
    /// record and its return address.
    fn caller(
        &mut self,
        function: u64,
        calls: &[u64],
        (sp, record): (u64, u64),
        back: u64,
    ) -> Option<Caller> {
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
        let cfa = *walk.sps.get(1)?;
        let kept = Native::kept(&self.images.unwinder, walk.addresses[0] - 1, cfa);
        if !others.is_empty() {
            // It is this function, but not known which of its calls: so its first line is named.
            walk.addresses[0] = function + Native::CODE_ALIGN as u64;
            walk.guessed.push(0);
        }
        Some(Caller { walk, record, kept })
    }

    /// Whether one of the first callers in the walk may be in another call than the walk says: a frame
    /// record that is no part of it returns there from a call through a pointer.
    fn may_be_in_another_call(&mut self, walk: &Walk, sp: u64) -> bool {
        let callers = walk.addresses.iter().zip(&walk.sps).skip(1).take(CALLERS_ASKED);
        callers.into_iter().any(|(back, outer)| {
            let Some(function) = self.images.begin(back - 1) else { return false };
            let Some(size) = self.images.frame_size(function) else { return false };
            let mut records = self.stack.places(sp).take_while(|record| record < outer);
            records.any(|record| {
                let word = |at| self.stack.word(at).unwrap_or_default();
                let other = word(record + 8) & Native::ADDRESS_BITS;
                word(record) == outer.wrapping_add(size)
                    && other != *back
                    && self.images.call_before(other) == Some(Target::Somewhere)
                    && self.images.begin(other - 1) == Some(function)
            })
        })
    }

    /// The walk from the caller of code without unwind information at `bare`, if that has changed neither the
    /// stack nor the register with the return address: a stub between two modules, a system call at which
    /// unwind information ends, and one in a function without any that makes no frame.
    pub(super) fn caller_of_bare(
        &mut self,
        bare: FrameAddress,
        registers: &UnwindRegs<Native>,
    ) -> Option<Walk> {
        if Native::CALLS_PUSH || bare.is_return_address() {
            return None;
        }
        let (sp, fp) = (Native::sp(registers), Native::fp(registers));
        let Some(back) = Native::link(registers) else {
            let call = self.images.begin_of_system_call(bare.address());
            let begin = call.or_else(|| self.images.begin_of_frameless(bare.address()))?;
            return self.caller_of(begin, sp);
        };
        if !self.images.is_in_stub(bare.address()) {
            // A thread that a system call has just begun still has the register of the one that made the call.
            return None;
        }
        self.images.call_before(back)?;
        let outer = Registers { fp: Some(fp), ..Registers::at(back, sp) };
        let walk = self.walk(FrameAddress::from_return_address(back)?, Native::regs(outer));
        Some(self.bridged(walk))
    }
}

impl Images {
    /// Whether each address follows a call that leads to the function of the one before, or may.
    pub(super) fn is_linked(&mut self, walk: &Walk) -> bool {
        walk.addresses.windows(2).all(|pair| {
            let (inside, back) = (pair[0] - 1, pair[1]);
            // Nothing is known of code that was made at run time. But it is no end.
            let is_unknown = walk.is_complete && !self.is_code(back);
            self.may_call(back, inside).unwrap_or(is_unknown)
        })
    }

    /// Whether the call before `back` leads to the function at `inside`, or may; `None` if there is no call.
    pub(super) fn may_call(&mut self, back: u64, inside: u64) -> Option<bool> {
        let Target::At(target) = self.call_before(back)? else { return Some(true) };
        self.load(inside);
        let start = self.begin(inside);
        let Reach { functions, anywhere } = self.reached(target);
        let leads = anywhere || start.is_some_and(|start| functions.contains(&start));
        Some(leads || self.leads_to(target, inside))
    }

    /// Where a call to `target` may lead.
    fn reached(&mut self, target: u64) -> Reach {
        if let Some(known) = self.reach.get(&target) {
            return known.clone();
        }
        let mut reach = Reach { functions: vec![target], anywhere: false };
        let mut at = 0;
        while at < reach.functions.len() && reach.functions.len() < MOST_REACHED {
            self.add_jumps(reach.functions[at], &mut reach);
            at += 1;
        }
        reach.functions.truncate(MOST_REACHED);
        if self.reach.len() >= MOST_REMEMBERED {
            self.reach.clear();
        }
        self.reach.insert(target, reach.clone());
        reach
    }

    /// Adds where the jumps lead that leave the function that begins at `start`.
    fn add_jumps(&mut self, start: u64, reach: &mut Reach) {
        let Some(code) = self.code_of(start, LONGEST_FUNCTION) else { return };
        let end = start + code.len() as u64;
        for index in (0..code.len()).step_by(Native::CODE_ALIGN) {
            let until = &code[..index + Native::CODE_ALIGN.min(code.len() - index)];
            let recent = &until[until.len().saturating_sub(Native::LONGEST_CALL)..];
            reach.anywhere |= Native::jumps_through_pointer(recent);
            let to = Native::branch(start + index as u64, &code[index..]);
            let Some(to) = to.filter(|to| !(start..end).contains(to)) else { continue };
            if let Target::At(to) = resolve(Target::At(to))
                && !reach.functions.contains(&to)
            {
                reach.functions.push(to);
            }
        }
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
                && self.reached(target).functions.contains(&leaf)
            {
                calls.push(address);
            }
        }
        calls
    }

    /// The code of the function that begins at `start`, if it is not longer than that.
    fn code_of(&mut self, start: u64, longest: u64) -> Option<Vec<u8>> {
        self.load(start);
        let range = match self.function(start) {
            Some(Known { start: begin, length }) if begin == start => {
                start..start.checked_add(length?)?
            }
            _ => self.range(start).filter(|range| range.start == start)?,
        };
        read(&range, longest)
    }

    /// Where the function without unwind information begins that has no frame where it makes the system call that ends at
    /// `address`.
    fn begin_of_frameless(&mut self, address: u64) -> Option<u64> {
        let is_call = self.is_system_call(address.checked_sub(Native::SYSTEM_CALL.len() as u64)?);
        if !is_call || self.has_unwind_information(address) || self.frame(address).is_some() {
            return None;
        }
        Some(self.range(address)?.start)
    }
}
