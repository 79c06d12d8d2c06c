//! From a copied stack to the addresses of its frames.
//!
//! Of a thread that waits in the kernel rbp is not known. Most frames do without it: their rule
//! goes by the stack pointer. Where one needs it, it is the place where that function has kept its
//! caller's rbp, just below its return address, so the stack is searched for it (see
//! [`Walker::search`]).
//!
//! Unwinding goes by what compilers write down for exceptions, so it is as right as that is. Known
//! to be wrong: a thread in the middle of landing after a panic, whose own unwinder has changed the
//! stack already.

use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64};
use framehop::{FrameAddress, Unwinder as _};

use super::calls::Target;
use super::images::Images;

/// More frames than that are left out.
const MOST_FRAMES: usize = 512;
/// More places than that are not tried for one frame.
const MOST_CANDIDATES: usize = 256;
/// Stands for an rbp that is not known: no address of the user's half of memory is near, so a
/// read near it tells that the rule needed rbp.
const UNKNOWN: u64 = 1 << 62;
const NEAR: u64 = 1 << 32;

/// What was copied of a thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Snapshot<'a> {
    pub(super) ip: u64,
    pub(super) sp: u64,
    pub(super) bp: Option<u64>,
    /// From `sp` outward.
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

/// Unwinds the copy.
pub(super) fn walk(images: &mut Images, snapshot: Snapshot<'_>) -> Walk {
    let Snapshot { ip, sp, bp, stack } = snapshot;
    let registers = UnwindRegsX86_64::new(ip, sp, bp.unwrap_or(UNKNOWN));
    let stack = Stack { begin: sp, bytes: stack };
    let mut walker = Walker { images, stack, may_search: bp.is_none() };
    walker.walk(FrameAddress::from_instruction_pointer(ip), registers)
}

#[derive(Clone, Copy)]
struct Stack<'a> {
    begin: u64,
    bytes: &'a [u8],
}

struct Walker<'a> {
    images: &'a mut Images,
    stack: Stack<'a>,
    /// One search at most, and none within it: from there on rbp is known.
    may_search: bool,
}

enum Step {
    Frame(FrameAddress),
    NeedsBp,
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
        let end = self.begin + self.bytes.len() as u64;
        (begin.next_multiple_of(8)..end.saturating_sub(15)).step_by(8)
    }
}

impl Walker<'_> {
    fn walk(&mut self, first: FrameAddress, mut registers: UnwindRegsX86_64) -> Walk {
        let mut walk = Walk { addresses: vec![first.address()], end: End::Lost };
        let mut frame = first;
        // Not kept for later: a rule that could not be applied leaves a poorer one in the cache.
        let mut cache = CacheX86_64::new();
        while walk.addresses.len() < MOST_FRAMES {
            let sp = registers.sp();
            match self.step(frame, &mut registers, &mut cache) {
                Step::Frame(next) => {
                    walk.addresses.push(next.address());
                    frame = next;
                }
                Step::End(end) => {
                    walk.end = end;
                    break;
                }
                Step::NeedsBp => {
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

    fn step(
        &mut self,
        frame: FrameAddress,
        registers: &mut UnwindRegsX86_64,
        cache: &mut CacheX86_64,
    ) -> Step {
        self.images.meet(frame.address_for_lookup());
        let (mut reads, mut needs_bp, mut outside) = (0, false, false);
        let stack = self.stack;
        let mut read = |address: u64| {
            reads += 1;
            let word = stack.word(address);
            needs_bp |= address.abs_diff(UNKNOWN) < NEAR;
            outside |= word.is_none();
            word.ok_or(())
        };
        let step = self.images.unwinder.unwind_frame(frame, registers, cache, &mut read);
        match step.map(|next| next.map(FrameAddress::from_return_address)) {
            _ if needs_bp => Step::NeedsBp,
            Ok(Some(Some(next))) => Step::Frame(next),
            // A return address of 0 that was read somewhere is no root, nor is an rbp of 0.
            Ok(None) if reads == 0 && registers.bp() != UNKNOWN => {
                let mut other = UnwindRegsX86_64::new(registers.ip(), registers.sp(), UNKNOWN);
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
        let mut next_best = None;
        if let Some(size) = start.and_then(|start| self.images.frame_size(start)) {
            match self.try_place(frame, sp, sp.wrapping_add(size)) {
                Some(walk) if walk.end == End::Root => return Some(walk),
                other => next_best = other,
            }
        }
        let (mut of_unknown_target, mut of_others) = (Vec::new(), Vec::new());
        for place in self.stack.places(sp) {
            let back = self.stack.word(place + 8)?;
            match self.images.call_before(back) {
                None => {}
                Some(Target::At(target)) if Some(target) == start => {
                    match self.try_place(frame, sp, place) {
                        Some(walk) if walk.end == End::Root => return Some(walk),
                        other => next_best = next_best.or(other),
                    }
                }
                Some(Target::At(_)) => of_others.push(place),
                Some(Target::In(_) | Target::Somewhere) => of_unknown_target.push(place),
            }
        }
        if next_best.is_some() {
            return next_best;
        }
        let places = of_unknown_target.into_iter().chain(of_others).take(MOST_CANDIDATES);
        let mut walks = places.filter_map(|place| self.try_place(frame, sp, place));
        walks.find(|walk| walk.end == End::Root)
    }

    /// Unwinds from `frame` on with this rbp, unless that leads to what no call returns to.
    fn try_place(&mut self, frame: FrameAddress, sp: u64, bp: u64) -> Option<Walk> {
        let walk = self.walk(frame, UnwindRegsX86_64::new(frame.address(), sp, bp));
        let is_called = |back: &u64| self.images.call_before(*back).is_some();
        let is_chain = walk.addresses.len() > 1 && walk.addresses[1..].iter().all(is_called);
        is_chain.then_some(walk)
    }
}
