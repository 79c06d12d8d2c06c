//! Looks for the thread that has what another one waits for.
//!
//! | what is waited for | its word | who has it | degree |
//! |---|---|---|---|
//! | a `Mutex` or `RwLock` of std or parking_lot, a shard of dashmap | by the function that waits, and what it waits at ([`wanted`](super::wanted)) | the frame whose clean-up releases the word ([`cleanup`](super::cleanup)) | certain |
//! | a `Once`, `OnceLock`, `LazyLock` of std | the same | the frame whose clean-up gives the initialisation up | certain |
//! | the end of a thread | libc's data about that thread | the thread that the kernel has written there | certain |
//! | a lock that no frame of any thread holds or may hold, each of them looked at | | no thread | likely |
//! | what a pool of rayon works out | | a thread of a pool that has work to do ([`pool`](super::pool)) | likely |
//! | anything else: condition variables, channels, barriers | | | unknown |
//!
//! A lock that is taken in the time between two looks makes no wrong answer: waiter, word and holder must
//! be what they were when all has been read. A holder that computes had the lock in the moment in which it
//! was stopped, while the waiter waited.

use std::ops::ControlFlow;

use super::cleanup::{Holds, LockWord, holds};
use super::still::{StackCopy, Still};
use super::take::Taker;
use super::unwind::{self, Walk};
use super::wanted::{Wanted, may_have, wanted};
use crate::clock::{self, Nanos};
use crate::procfs::thread::{name_of, threads};
use crate::stack::raw::{Interrupted, RawHolder, RawHolding, RawStack, Way};
use crate::stall::{Degree, Holder, HoldingRole};
use crate::sys::native::{memory, own_cpu_time};
use crate::vitals::OwnThread;

/// The most CPU time that a look at all threads takes. Code without optimization takes ten times as much, and
/// more than this would leave later stalls of a program that is being developed without stacks: ten such
/// looks are what is saved up for them.
const MOST_CPU: Nanos = if cfg!(debug_assertions) { 200_000_000 } else { 50_000_000 };
/// The longest that it takes, on a machine where others have the CPU.
const LONGEST: Nanos = 5 * MOST_CPU;
/// Our own threads that take no lock of others: they move while they work on the stacks.
const OURS: [&str; 3] =
    [OwnThread::Watchdog.as_str(), OwnThread::Capture.as_str(), OwnThread::Symbols.as_str()];
/// The most threads that one looks at.
pub(super) const MOST_THREADS: usize = 128;
/// Data of a lock may come before its word, and a guard points to its begin. So much, in bytes, is looked for.
const LARGEST: u64 = 1024;
/// The most bytes of stacks that are kept meanwhile, beside those of the thread that is looked at.
const MOST_BYTES: usize = 2 << 20;
/// How many words of what a frame has the address of are looked at,
const BEHIND: usize = 32;
/// and what is no address.
const LOWEST: u64 = 0x1_0000;
/// How far a chain of threads that wait for one another is followed.
pub(super) const MOST_LINKS: usize = 4;
/// How many threads that compute are stopped in one look,
const MOST_STOPPED: usize = 4;
/// and how long one of them is waited for. It may have to wait for a CPU.
const LONGEST_STOP: Nanos = 30_000_000;

/// A look at all threads.
pub(super) struct Look<'a> {
    /// Asked from time to time whether nothing is more urgent.
    goes_on: &'a mut dyn FnMut() -> bool,
    /// The CPU time of this thread, and the time, at which it ends.
    limits: (Nanos, Nanos),
}

/// The thread that a waiter waits for.
enum Found {
    Waits(Still, Walk),
    Computes(StackCopy, Walk),
}

/// What a look at all threads has found.
#[derive(Default)]
struct Seen {
    left_out: usize,
    unclear: usize,
}

impl<'a> Look<'a> {
    fn new(goes_on: &'a mut dyn FnMut() -> bool) -> Self {
        Self { goes_on, limits: (own_cpu_time() + MOST_CPU, clock::now() + LONGEST) }
    }

    /// Whether there is time for another thread.
    pub(super) fn has_time(&mut self) -> Result<bool, Interrupted> {
        match (self.goes_on)() {
            true => Ok(own_cpu_time() < self.limits.0 && clock::now() < self.limits.1),
            false => Err(Interrupted),
        }
    }
}

impl Taker {
    /// Who has what that thread waits for, and keeps it waiting; `None` if it does not wait for that.
    ///
    /// # Errors
    ///
    /// `goes_on` says that something else is more urgent. It is asked after each thread.
    pub(in crate::stack) fn holding(
        &mut self,
        thread: u32,
        still: &dyn Fn() -> bool,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Option<RawHolding>, Interrupted> {
        let mut look = Look::new(goes_on);
        self.images.refresh();
        let Some(waiter) = Still::look(thread).filter(|waiter| waiter.futex().is_some()) else {
            return Ok(None);
        };
        let walk = self.walk(&waiter.copy);
        let mut waiters = vec![(waiter, walk)];
        let mut holding = RawHolding::new(Holder::Unknown, Degree::Unknown);
        while holding.threads.len() < MOST_LINKS && look.has_time()? {
            let (waiter, walk) = &waiters[waiters.len() - 1];
            let Some(wanted) = self.wanted_by(waiter, walk) else { break };
            if waiters.len() == 1
                && let Wanted::Lock(word, _) = wanted
                && matches!(holds(&mut self.images, &waiter.copy, walk, word), Holds::Frame(_))
            {
                holding = RawHolding::new(Holder::SameThread, Degree::Certain);
                break;
            }
            let mut seen = Seen::default();
            let found = match wanted {
                Wanted::Thread(thread) => {
                    match self.joined(thread, waiter.copy.thread, &mut look)? {
                        None => {
                            holding.threads.push(nameless(thread));
                            (holding.holder, holding.degree) =
                                (Holder::OtherThread, Degree::Certain);
                            break;
                        }
                        found => found.map(|found| (found, HoldingRole::IsJoined)),
                    }
                }
                // A degree is for all of a chain.
                Wanted::Pool if waiters.len() > 1 => break,
                Wanted::Pool => {
                    (holding.threads, holding.threads_left_out) =
                        self.pool(waiter.copy.thread, &mut look)?;
                    if !holding.threads.is_empty() {
                        (holding.holder, holding.degree) = (Holder::OtherThread, Degree::Likely);
                    }
                    break;
                }
                Wanted::Lock(word, role) => self
                    .holder(word, waiter.copy.thread, &mut look, &mut seen)?
                    .map(|found| (found, role)),
            };
            if waiters.len() == 1 {
                holding.threads_left_out = seen.left_out;
            }
            let Some((found, role)) = found else {
                let is_lock = matches!(wanted, Wanted::Lock(_, HoldingRole::Holds));
                if waiters.len() == 1 && is_lock && seen.left_out == 0 && seen.unclear == 0 {
                    (holding.holder, holding.degree) = (Holder::NoThread, Degree::Likely);
                }
                break;
            };
            (holding.holder, holding.degree) = (Holder::OtherThread, Degree::Certain);
            let (found, walk) = match found {
                Found::Waits(found, walk) => (found, walk),
                Found::Computes(copy, walk) => {
                    holding.threads.push(self.describe((&copy, &walk), Way::Signal, role, None));
                    break;
                }
            };
            let of = (&found.copy, &walk);
            holding.threads.push(self.describe(of, Way::Quiet, role, found.waits_in()));
            let known = waiters.iter().any(|(waiter, _)| waiter.copy.thread == found.copy.thread);
            waiters.push((found, walk));
            if known {
                holding.holder = Holder::Deadlock;
                break;
            }
        }
        // What was read one after the other was so at one time: nobody has moved.
        let stands = still() && waiters.iter().all(|(waiter, _)| waiter.is_still());
        let same_code = !self.images.refresh();
        if stands && same_code {
            return Ok(Some(holding));
        }
        let left_out = holding.threads_left_out;
        Ok(Some(RawHolding {
            threads_left_out: left_out,
            ..RawHolding::new(Holder::Unknown, Degree::Unknown)
        }))
    }

    pub(super) fn walk(&mut self, of: &StackCopy) -> Walk {
        unwind::walk(&mut self.images, of.registers, &of.stack)
    }

    fn wanted_by(&mut self, waiter: &Still, walk: &Walk) -> Option<Wanted> {
        wanted((&self.images, &mut self.functions), waiter, walk)
    }

    pub(super) fn describe(
        &self,
        (of, walk): (&StackCopy, &Walk),
        way: Way,
        role: HoldingRole,
        waits_in: Option<String>,
    ) -> RawHolder {
        let stack = RawStack {
            thread: of.thread,
            way,
            partial: !walk.is_complete,
            given: None,
            frames: self.code_of(walk),
        };
        RawHolder { stack, name: name_of(of.thread), role, waits_in, handler: None }
    }

    /// A thread whose end is waited for; `None` if it does not stand still and cannot be stopped.
    fn joined(
        &mut self,
        thread: u32,
        waiter: u32,
        look: &mut Look<'_>,
    ) -> Result<Option<Found>, Interrupted> {
        if let Some(found) = Still::look(thread) {
            let walk = self.walk(&found.copy);
            return Ok(Some(Found::Waits(found, walk)));
        }
        let Some(thread) = may_be_stopped(&[thread], waiter).next() else { return Ok(None) };
        let stopped = self.stopped(thread, look)?;
        Ok(stopped.map(|(copy, walk)| Found::Computes(copy, walk)))
    }

    /// The stack of a thread that computes.
    pub(super) fn stopped(
        &mut self,
        thread: u32,
        look: &mut Look<'_>,
    ) -> Result<Option<(StackCopy, Walk)>, Interrupted> {
        if !look.has_time()? {
            return Ok(None);
        }
        let deadline = look.limits.1.min(clock::now() + LONGEST_STOP);
        Ok(self.stop(thread, deadline).map(|(registers, stack)| {
            let copy = StackCopy { thread, registers, stack };
            let walk = self.walk(&copy);
            (copy, walk)
        }))
    }

    /// The thread that holds a lock. First those are looked at that have its address on their stack, then
    /// the others, which may hold it by a future on the heap.
    fn holder(
        &mut self,
        word: LockWord,
        waiter: u32,
        look: &mut Look<'_>,
        seen: &mut Seen,
    ) -> Result<Option<Found>, Interrupted> {
        let (mut others, mut kept, mut moving) = (Vec::new(), 0, Vec::new());
        for (count, thread) in others_than(waiter).enumerate() {
            if count >= MOST_THREADS || !look.has_time()? {
                seen.left_out += 1;
                continue;
            }
            match Still::look(thread) {
                // It may take the lock, or release it, at any time: that it does not hold it now says nothing.
                None => {
                    seen.left_out += 1;
                    moving.push(thread);
                }
                Some(other) if other.copy.has(word.address) => {
                    if let ControlFlow::Break(found) = self.check(other, word, seen) {
                        return Ok(Some(found));
                    }
                }
                Some(other) if kept + other.copy.stack.len() > MOST_BYTES => seen.left_out += 1,
                Some(other) => {
                    kept += other.copy.stack.len();
                    others.push(other);
                }
            }
        }
        for other in others {
            if !look.has_time()? {
                seen.left_out += 1;
            } else if let ControlFlow::Break(found) = self.check(other, word, seen) {
                return Ok(Some(found));
            }
        }
        for thread in may_be_stopped(&moving, waiter) {
            let Some((copy, walk)) = self.stopped(thread, look)? else { continue };
            if let Holds::Frame(_) = holds(&mut self.images, &copy, &walk, word) {
                return Ok(Some(Found::Computes(copy, walk)));
            }
        }
        Ok(None)
    }

    /// Whether that thread holds the lock. Where that is not clear it may do so, and so may one that has its
    /// address, unless it waits for the lock: calls that cannot panic have no clean-up.
    fn check(&mut self, other: Still, word: LockWord, seen: &mut Seen) -> ControlFlow<Found> {
        let walk = self.walk(&other.copy);
        match holds(&mut self.images, &other.copy, &walk, word) {
            Holds::Frame(_) => return ControlFlow::Break(Found::Waits(other, walk)),
            Holds::No(unclear) => {
                let may_hold = self.knows(&other.copy, &walk, word)
                    || unclear
                        .into_iter()
                        .any(|index| self.may_hold(&other.copy, &walk, index, word));
                seen.unclear += usize::from(may_hold && !self.waits_for(&other, &walk, word));
            }
            Holds::Unclear => seen.unclear += 1,
        }
        ControlFlow::Continue(())
    }

    /// Whether a frame has the address of the lock, except for our own.
    fn knows(&mut self, other: &StackCopy, walk: &Walk, word: LockWord) -> bool {
        let mut frames = walk.addresses.iter().zip(walk.sps.windows(2)).enumerate();
        other.has(word.address)
            && frames.any(|(index, (address, sps))| {
                let has = other.words(sps[0]..sps[1]).any(|found| found == word.address);
                has && may_have((&self.images, &mut self.functions), (*address, index), true)
            })
    }

    /// Whether a frame whose clean-up could not be followed may hold the lock: it has an address close
    /// before the lock's, where a guard would point to, or the address of something that has one, such as a
    /// boxed closure, or may have a future elsewhere that has the guard.
    fn may_hold(&mut self, other: &StackCopy, walk: &Walk, index: usize, word: LockWord) -> bool {
        let (Some(address), Some([from, to])) =
            (walk.addresses.get(index), walk.sps.get(index..index + 2))
        else {
            return true;
        };
        let near = word.address.saturating_sub(LARGEST)..=word.address;
        let is_near = other.words(*from..*to).any(|found| {
            near.contains(&found) || words_at(found).any(|behind| near.contains(&behind))
        });
        may_have((&self.images, &mut self.functions), (*address, index), is_near)
    }

    fn waits_for(&mut self, other: &Still, walk: &Walk, word: LockWord) -> bool {
        matches!(self.wanted_by(other, walk), Some(Wanted::Lock(wanted, _)) if wanted == word)
    }
}

/// All threads but that one and our own.
pub(super) fn others_than(waiter: u32) -> impl Iterator<Item = u32> {
    let is_ours = |thread| name_of(thread).is_some_and(|name| OURS.contains(&&*name));
    threads().into_iter().filter(move |thread| *thread != waiter && !is_ours(*thread))
}

/// Of threads that compute those that are stopped for a look: the first few, and none but threads that have the name
/// of the one that waits. Those are workers of the same runtime, its threads for blocking calls, and
/// threads that they have started. What others are made for, and how much stack they have, nobody knows.
pub(super) fn may_be_stopped(threads: &[u32], waiter: u32) -> impl Iterator<Item = u32> {
    let name = name_of(waiter);
    let has_it = move |thread: &u32| name.is_some() && name_of(*thread) == name;
    threads.iter().copied().filter(has_it).take(MOST_STOPPED)
}

/// The first words of what may lie at an address.
fn words_at(address: u64) -> impl Iterator<Item = u64> {
    let mut words = [[0; 8]; BEHIND];
    let is_address = address >= LOWEST && address.is_multiple_of(8);
    let copied = if is_address { memory::copy(address, words.as_flattened_mut()) } else { 0 };
    words.into_iter().take(copied / 8).map(u64::from_le_bytes)
}

/// A thread whose end is waited for, and which does not stand still.
fn nameless(thread: u32) -> RawHolder {
    let stack =
        RawStack { thread, way: Way::Quiet, partial: true, given: None, frames: Vec::new() };
    let (name, role) = (name_of(thread), HoldingRole::IsJoined);
    RawHolder { stack, name, role, waits_in: None, handler: None }
}
