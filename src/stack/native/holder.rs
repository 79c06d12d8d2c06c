//! Looks for the thread that has what another one waits for.
//!
//! | what is waited for | its word | who has it | degree |
//! |---|---|---|---|
//! | a `Mutex` or `RwLock` of std, a `Mutex` of parking_lot | by the function that waits, and what it waits at | the frame whose clean-up releases the word ([`cleanup`](super::cleanup)) | certain |
//! | a `Once`, `OnceLock`, `LazyLock` of std | the same | the frame whose clean-up gives the initialisation up | certain |
//! | the end of a thread | libc's data about that thread | the thread that the kernel has written there | certain |
//! | a lock that no frame of any thread holds, each of them looked at | | no thread | likely |
//! | anything else: other locks of parking_lot, condition variables, channels, barriers | | | unknown |
//!
//! A lock that is taken in the time between two looks makes no wrong answer: waiter, word and holder must
//! be what they were when all has been read.

use std::ops::ControlFlow;
use std::time::Duration;

use super::cleanup::{Holds, LockWord, holds};
use super::debug_info::functions_at;
use super::take::{Taker, waits_at};
use super::unwind::{self, Stack, Walk};
use super::{bytes, pointer_args};
use crate::clock::{self, Nanos};
use crate::procfs::thread::{ThreadState, name_of, threads};
use crate::procfs::thread_files::{Moment, ThreadFiles};
use crate::stack::raw::{RawHolder, RawHolding, RawStack, Way};
use crate::stall::{Degree, Holder, HoldingRole};
use crate::sys::native::signal::{LONGEST_STACK, Registers};
use crate::sys::native::{memory, own_cpu_time};
use crate::sys::{futex_wait, system_call};
use crate::vitals::OwnThread;

/// The most CPU time that a look at all threads takes. Code without optimization takes ten times as much.
const MOST_CPU: Nanos = if cfg!(debug_assertions) { 500_000_000 } else { 50_000_000 };
/// The longest that it takes, on a machine where others have the CPU.
const LONGEST: Nanos = 5 * MOST_CPU;
/// How many times one that moves is looked at,
const LOOKS: usize = 3;
/// and the time between.
const PAUSE: Duration = Duration::from_micros(200);
/// Our own threads that take no lock of others: they move while they work on the stacks.
const OURS: [&str; 3] =
    [OwnThread::Watchdog.as_str(), OwnThread::Capture.as_str(), OwnThread::Symbols.as_str()];
/// The most threads that one looks at.
const MOST_THREADS: usize = 128;
/// How far a chain of threads that wait for one another is followed.
const MOST_LINKS: usize = 4;
/// How many of the inner frames tell what a thread waits for.
const INNER_FRAMES: usize = 24;
/// Bytes around the word that a thread of parking_lot waits at, among them the address of its lock.
const AROUND: u64 = 64;
/// Where in its data about a thread glibc has the id of the thread.
#[cfg(target_arch = "x86_64")]
const ID_IN_THREAD: u64 = 0x2d0;
#[cfg(not(target_arch = "x86_64"))]
const ID_IN_THREAD: u64 = 0xd0;

/// A thread that waits, as it stood still.
struct Still {
    thread: u32,
    files: ThreadFiles,
    moment: Moment,
    registers: Registers,
    stack: Vec<u8>,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Lock(LockWord, HoldingRole),
    Thread(u32),
}

/// What a look at all threads has found.
#[derive(Default)]
struct Seen {
    left_out: usize,
    unclear: usize,
}

impl Still {
    /// `None` if the thread does not wait, or does not stand still in several looks.
    fn look(thread: u32) -> Option<Self> {
        (0..LOOKS).find_map(|look| {
            if look > 0 {
                std::thread::sleep(PAUSE);
            }
            Self::glance(thread)
        })
    }

    fn glance(thread: u32) -> Option<Self> {
        let files = ThreadFiles::open(thread).ok()?;
        let moment = files.moment().ok()?;
        let registers = waits_at(&moment).ok()??;
        let mut stack = vec![0; LONGEST_STACK];
        let copied = memory::copy(registers.sp, &mut stack);
        stack.truncate(copied);
        let still = Self { thread, files, moment, registers, stack };
        still.is_still().then_some(still)
    }

    fn is_still(&self) -> bool {
        self.files.moment().is_ok_and(|now| now == self.moment)
    }

    fn copy(&self) -> Stack<'_> {
        Stack::new(self.registers.sp, &self.stack)
    }

    /// Its stack, and where libc's data about it lies, which glibc puts at the outer end of the stack: it
    /// begins with its own address, twice, and has the id of the thread.
    fn memory(&self) -> (Stack<'_>, Option<u64>) {
        let stack = self.copy();
        let word = |at: u64| stack.word(at);
        let area = stack.places(self.registers.sp).find(|at| {
            word(*at) == Some(*at)
                && word(at + 0x10) == Some(*at)
                && word(at + ID_IN_THREAD).is_some_and(|id| id as u32 == self.thread)
        });
        (stack, area)
    }

    /// Whether a word of its stack is that address.
    fn has(&self, address: u64) -> bool {
        let words = self.stack.chunks_exact(8);
        words.into_iter().any(|word| word == address.to_le_bytes())
    }

    /// The word that it waits at, and what that held, if it waits for a word to change.
    fn futex(&self) -> Option<(u64, u32)> {
        match self.moment.state() {
            ThreadState::Call { number, arguments, .. } => futex_wait(number, &arguments),
            _ => None,
        }
    }

    fn waits_in(&self) -> Option<String> {
        let state = self.moment.state();
        let given = pointer_args::of_call(&state).map(|(_, given)| given).unwrap_or_default();
        match state {
            ThreadState::Call { number, arguments, .. } => {
                Some(format!("{}{given}", system_call(number, &arguments).0))
            }
            _ => None,
        }
    }
}

impl Taker {
    /// Who has what that thread waits for, and keeps it waiting; `None` if it does not wait for that.
    pub(in crate::stack) fn holding(
        &mut self,
        thread: u32,
        still: &dyn Fn() -> bool,
    ) -> Option<RawHolding> {
        self.images.refresh();
        let waiter = Still::look(thread)?;
        waiter.futex()?;
        let walk = self.walk(&waiter);
        let mut waiters = vec![(waiter, walk)];
        let mut holding = RawHolding::new(Holder::Unknown, Degree::Unknown);
        while holding.threads.len() < MOST_LINKS {
            let (waiter, walk) = &waiters[waiters.len() - 1];
            let Some(wanted) = self.wanted(waiter, walk) else { break };
            if waiters.len() == 1
                && let Wanted::Lock(word, _) = wanted
                && matches!(holds(&mut self.images, waiter.memory(), walk, word), Holds::Frame(_))
            {
                holding = RawHolding::new(Holder::SameThread, Degree::Certain);
                break;
            }
            let mut seen = Seen::default();
            let found = match wanted {
                Wanted::Thread(thread) => {
                    let Some(found) = Still::look(thread) else {
                        holding.threads.push(computing(thread));
                        (holding.holder, holding.degree) = (Holder::OtherThread, Degree::Certain);
                        break;
                    };
                    let walk = self.walk(&found);
                    Some((found, walk, HoldingRole::IsJoined))
                }
                Wanted::Lock(word, role) => self
                    .holder(word, waiter.thread, &mut seen)
                    .map(|(found, walk)| (found, walk, role)),
            };
            if waiters.len() == 1 {
                holding.threads_left_out = seen.left_out;
            }
            let Some((found, walk, role)) = found else {
                let is_lock = matches!(wanted, Wanted::Lock(_, HoldingRole::Holds));
                if waiters.len() == 1 && is_lock && seen.left_out == 0 && seen.unclear == 0 {
                    (holding.holder, holding.degree) = (Holder::NoThread, Degree::Likely);
                }
                break;
            };
            holding.threads.push(self.describe(&found, &walk, role));
            (holding.holder, holding.degree) = (Holder::OtherThread, Degree::Certain);
            let known = waiters.iter().any(|(waiter, _)| waiter.thread == found.thread);
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
            return Some(holding);
        }
        let left_out = holding.threads_left_out;
        Some(RawHolding {
            threads_left_out: left_out,
            ..RawHolding::new(Holder::Unknown, Degree::Unknown)
        })
    }

    fn walk(&mut self, of: &Still) -> Walk {
        unwind::walk(&mut self.images, of.registers, &of.stack)
    }

    fn describe(&self, found: &Still, walk: &Walk, role: HoldingRole) -> RawHolder {
        let frames = walk.addresses.iter().enumerate();
        let frames = frames.map(|(index, address)| {
            let is_guessed = walk.guessed.contains(&index);
            crate::stack::raw::CodeAddress {
                is_guessed,
                ..self.images.describe(*address, index > 0)
            }
        });
        let stack = RawStack {
            thread: found.thread,
            way: Way::Quiet,
            partial: !walk.is_complete,
            given: None,
            frames: frames.collect(),
        };
        let (name, waits_in) = (name_of(found.thread), found.waits_in());
        RawHolder { stack, name, role, waits_in, handler: None }
    }

    /// What a thread waits for.
    fn wanted(&mut self, waiter: &Still, walk: &Walk) -> Option<Wanted> {
        let (at, held) = waiter.futex()?;
        if let Some(thread) = joined(at, held) {
            return (thread != waiter.thread).then_some(Wanted::Thread(thread));
        }
        let inner = walk.addresses.iter().enumerate().take(INNER_FRAMES);
        let inner = inner.map(|(index, address)| self.images.describe(*address, index > 0));
        let inner: Vec<_> = inner
            .filter(|code| code.image.as_ref().is_some_and(|image| image.is_program))
            .collect();
        let image = inner.first()?.image.clone()?;
        let offsets: Vec<u64> =
            inner.iter().map(|code| code.lookup().wrapping_sub(image.base)).collect();
        let names = functions_at(&image, &offsets);
        let kind = Kind::of_waiting(&names)?;
        let word = |address, size| Some(LockWord { address, size });
        let (word, role) = match kind {
            Kind::Word => (word(at, 4), HoldingRole::Holds),
            // The word of the lock comes before the one that its writers wait at.
            Kind::AfterWord => (word(at.checked_sub(4)?, 4), HoldingRole::Holds),
            Kind::Once => (word(at, 4), HoldingRole::Initialises),
            Kind::Parked => (parked(waiter, at), HoldingRole::Holds),
        };
        Some(Wanted::Lock(word.filter(|word| word.read().is_some_and(|held| held != 0))?, role))
    }

    /// The thread that holds a lock. First those are looked at that have its address on their stack, then
    /// the others, which may hold it by a future on the heap.
    fn holder(&mut self, word: LockWord, waiter: u32, seen: &mut Seen) -> Option<(Still, Walk)> {
        let limits = (own_cpu_time() + MOST_CPU, clock::now() + LONGEST);
        let has_time = || own_cpu_time() < limits.0 && clock::now() < limits.1;
        let mut others = Vec::new();
        let is_other = |thread: &u32| {
            *thread != waiter && !name_of(*thread).is_some_and(|name| OURS.contains(&&*name))
        };
        for (count, thread) in threads().into_iter().filter(is_other).enumerate() {
            let look = || Still::look(thread);
            let in_time = count < MOST_THREADS && has_time();
            match in_time.then(look).flatten() {
                None => seen.left_out += 1,
                Some(other) if other.has(word.address) => {
                    if let ControlFlow::Break(found) = self.check(other, word, seen) {
                        return Some(found);
                    }
                }
                Some(other) => others.push(other),
            }
        }
        for other in others {
            if !has_time() {
                seen.left_out += 1;
            } else if let ControlFlow::Break(found) = self.check(other, word, seen) {
                return Some(found);
            }
        }
        None
    }

    /// Whether that thread holds the lock. Where that is not clear it may do so, and so may one that has its
    /// address: calls that cannot panic have no clean-up.
    fn check(
        &mut self,
        other: Still,
        word: LockWord,
        seen: &mut Seen,
    ) -> ControlFlow<(Still, Walk)> {
        let walk = self.walk(&other);
        match holds(&mut self.images, other.memory(), &walk, word) {
            Holds::Frame(_) => return ControlFlow::Break((other, walk)),
            Holds::No if !other.has(word.address) => {}
            Holds::No | Holds::Unclear => seen.unclear += 1,
        }
        ControlFlow::Continue(())
    }
}

/// A thread whose end is waited for, and which does not stand still.
fn computing(thread: u32) -> RawHolder {
    let stack =
        RawStack { thread, way: Way::Quiet, partial: true, given: None, frames: Vec::new() };
    let (name, role) = (name_of(thread), HoldingRole::IsJoined);
    RawHolder { stack, name, role, waits_in: None, handler: None }
}

/// How a function waits for a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// At the word of the lock.
    Word,
    /// At the word after it.
    AfterWord,
    /// At the word of a `Once`.
    Once,
    /// In the queue of a mutex of parking_lot.
    Parked,
}

impl Kind {
    /// By the names of a waiting thread's functions, innermost first. The one that waits is the first that is
    /// not between it and the system: those further out may have waited in the same way before.
    fn of_waiting(names: &[Option<String>]) -> Option<Self> {
        const BETWEEN: [&str; 3] = ["parking_lot_core::", "futex_wait", "core::ops::"];
        let is_between = |name: &str| BETWEEN.iter().any(|part| name.contains(part));
        let name = names.iter().find(|name| !name.as_deref().is_some_and(is_between))?;
        Self::of(name.as_deref()?)
    }

    /// By the name of a function that waits.
    fn of(name: &str) -> Option<Self> {
        const KINDS: [(&str, Kind); 6] = [
            ("sync::mutex::futex::Mutex::lock_contended", Kind::Word),
            ("sync::rwlock::futex::RwLock::read_contended", Kind::Word),
            ("sync::rwlock::futex::RwLock::write_contended", Kind::AfterWord),
            ("sync::once::futex::Once::call", Kind::Once),
            ("sync::once::futex::Once::wait", Kind::Once),
            ("parking_lot::raw_mutex::RawMutex::lock_slow", Kind::Parked),
        ];
        // Newer compilers write `<path::Type>::function`.
        let name = name.replace(['<', '>'], "");
        KINDS.iter().find(|(part, _)| name.contains(part)).map(|(_, kind)| *kind)
    }
}

/// The thread whose end is waited for at that word, which held its id: so glibc says in its data about each
/// thread, which begins with its own address.
fn joined(at: u64, held: u32) -> Option<u32> {
    let begin = at.checked_sub(ID_IN_THREAD)?;
    let is_thread = bytes::word(begin)? == begin && bytes::word(begin + 0x10)? == begin;
    let id = bytes::word(at)? as u32;
    (is_thread && id == held && id != 0).then_some(id)
}

/// The lock that a thread of parking_lot waits for at that word: the only address beside it that is on
/// the thread's stack and leads to a word which says that threads wait.
fn parked(waiter: &Still, at: u64) -> Option<LockWord> {
    let places = (at & !7).saturating_sub(AROUND)..at.saturating_add(AROUND);
    let mut found = None;
    for place in places.step_by(8) {
        let Some(key) = bytes::word(place).filter(|key| waiter.has(*key)) else { continue };
        let word = LockWord { address: key, size: 1 };
        // Locked, and threads wait.
        let is_lock = word.read() == Some(3);
        if is_lock && found.replace(word).is_some_and(|other| other != word) {
            return None;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::Kind;

    #[test]
    fn what_waits_is_the_innermost_function() {
        let kind = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| Some((*name).to_owned())).collect();
            Kind::of_waiting(&names)
        };
        let once = "<std::sys::sync::once::futex::Once>::call";
        assert_eq!(kind(&[once, "app::value"]), Some(Kind::Once));
        // It initialises the value, and waits for something else.
        assert_eq!(kind(&["<std::thread::thread::Thread>::park", "app::load", once]), None);
        let parked = "parking_lot_core::parking_lot::park::{{closure}}";
        let mutex = "parking_lot::raw_mutex::RawMutex::lock_slow";
        assert_eq!(kind(&[parked, mutex]), Some(Kind::Parked));
        assert_eq!(Kind::of_waiting(&[None, Some(once.into())]), None);
        assert_eq!(kind(&[]), None);
    }
}
