//! What a thread waits for that another one may have: by the function that waits, and what it waits at.

use std::collections::HashMap;
use std::sync::Arc;

use super::bytes;
use super::cleanup::LockWord;
use super::debug_info::functions_at;
use super::images::Images;
use super::still::{ID_IN_THREAD, Still};
use super::unwind::Walk;
use crate::stack::raw::Image;
use crate::stall::HoldingRole;

/// How many of the inner frames tell what a thread waits for.
const INNER_FRAMES: usize = 24;
/// About how many places in functions are remembered.
const MOST_KNOWN: usize = 4096;
/// How many bytes before the word that a thread of parking_lot waits at the address of its lock is. Where a
/// compiler puts it elsewhere, what is there is no lock with waiters.
const KEY_BEFORE: u64 = 32;
/// More readers have no lock at one time.
const MOST_READERS: u64 = 1 << 20;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Lock(LockWord, HoldingRole),
    Thread(u32),
    /// What a pool of rayon works out.
    Pool,
}

/// What a thread waits for.
pub(super) fn wanted(
    (images, functions): (&Images, &mut Functions),
    waiter: &Still,
    walk: &Walk,
) -> Option<Wanted> {
    let (at, held) = waiter.futex()?;
    if let Some(thread) = joined(at, held) {
        return (thread != waiter.copy.thread).then_some(Wanted::Thread(thread));
    }
    let (image, offsets) = of_program(images, walk, INNER_FRAMES)?;
    let kind = functions.waiting(&image, &offsets)?;
    let word = |address, size| Some(LockWord { address, size });
    let (word, role) = match kind {
        Kind::Word => (word(at, 4), HoldingRole::Holds),
        // The word of the lock comes before the one that its writers wait at.
        Kind::AfterWord => (word(at.checked_sub(4)?, 4), HoldingRole::Holds),
        Kind::Once => (word(at, 4), HoldingRole::Initialises),
        Kind::Parked(lock) => (parked(at, lock), HoldingRole::Holds),
        Kind::Pool => return Some(Wanted::Pool),
    };
    Some(Wanted::Lock(word.filter(|word| word.read().is_some_and(|held| held != 0))?, role))
}

/// Whether the function of a frame may have a guard: one whose address it has, if `is_near`, or one in a future
/// elsewhere, so far as its name tells.
pub(super) fn may_have(
    (images, functions): (&Images, &mut Functions),
    (address, index): (u64, usize),
    is_near: bool,
) -> bool {
    let code = images.describe(address, index > 0);
    let Some(image) = code.image.clone().filter(|image| image.is_program) else {
        return is_near;
    };
    let offset = code.lookup().wrapping_sub(image.base);
    match functions.at(&image, &[offset]).next() {
        Some(Function::Ours) => false,
        Some(Function::Polls | Function::Pool) | None => true,
        Some(_) => is_near,
    }
}

/// Whether the thread is one of a pool of rayon, and has work to do.
pub(super) fn works_in_pool((images, functions): (&Images, &mut Functions), walk: &Walk) -> bool {
    let Some((image, offsets)) = of_program(images, walk, usize::MAX) else { return false };
    let of_stack: Vec<_> = functions.at(&image, &offsets).collect();
    of_stack.contains(&Function::PoolThread) && !of_stack.contains(&Function::PoolRests)
}

/// The places in the program itself of that many inner frames.
fn of_program(images: &Images, walk: &Walk, most: usize) -> Option<(Arc<Image>, Vec<u64>)> {
    let frames = walk.addresses.iter().enumerate().take(most);
    let code = frames.map(|(index, address)| images.describe(*address, index > 0));
    let code: Vec<_> =
        code.filter(|code| code.image.as_ref().is_some_and(|image| image.is_program)).collect();
    let image = code.first()?.image.clone()?;
    let offsets = code.iter().map(|code| code.lookup().wrapping_sub(image.base)).collect();
    Some((image, offsets))
}

/// How a function waits for a lock, or for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// At the word of the lock.
    Word,
    /// At the word after it.
    AfterWord,
    /// At the word of a `Once`.
    Once,
    /// In a queue of parking_lot.
    Parked(Parked),
    /// For a condition, in rayon.
    Pool,
}

/// A lock whose waiters are in a queue of parking_lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parked {
    /// A mutex of parking_lot.
    Mutex,
    /// A lock for readers and writers of parking_lot.
    RwLock,
    /// A shard of dashmap.
    Shard,
}

/// What a function that is on a waiting thread's stack has to do with its wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    /// It is between the one that waits and the system.
    Between,
    Waits(Kind),
    /// It may poll a future, or has no name.
    Polls,
    /// It waits for a condition.
    Condition,
    /// It gives a function something of the thread's own.
    Local,
    /// Of rayon.
    Pool,
    /// Of rayon, on the threads of its pools,
    PoolThread,
    /// and where these have nothing to do.
    PoolRests,
    /// Ours, and takes no lock of others.
    Ours,
    Other,
}

impl Function {
    fn of(name: Option<&str>) -> Self {
        const BETWEEN: [&str; 3] = ["parking_lot_core::", "futex_wait", "core::ops::"];
        const KINDS: [(&str, Kind); 8] = [
            ("sync::mutex::futex::Mutex::lock_contended", Kind::Word),
            ("sync::rwlock::futex::RwLock::read_contended", Kind::Word),
            ("sync::rwlock::futex::RwLock::write_contended", Kind::AfterWord),
            ("sync::once::futex::Once::call", Kind::Once),
            ("sync::once::futex::Once::wait", Kind::Once),
            ("parking_lot::raw_mutex::RawMutex", Kind::Parked(Parked::Mutex)),
            ("parking_lot::raw_rwlock::RawRwLock", Kind::Parked(Parked::RwLock)),
            ("dashmap::", Kind::Parked(Parked::Shard)),
        ];
        let Some(name) = name else { return Self::Polls };
        if BETWEEN.iter().any(|part| name.contains(part)) {
            return Self::Between;
        }
        // Newer compilers write `<path::Type>::function`.
        let name = name.replace(['<', '>'], "");
        if let Some((_, kind)) = KINDS.iter().find(|(part, _)| name.contains(part)) {
            return Self::Waits(*kind);
        }
        if name.starts_with("tower_stall::report::") {
            return Self::Ours;
        }
        if let Some(rest) = name.strip_prefix("rayon_core::") {
            let of_thread = ["ThreadBuilder", "WorkerThread", "main_loop"];
            return match rest {
                _ if rest.starts_with("sleep::") => Self::PoolRests,
                _ if of_thread
                    .iter()
                    .any(|part| rest.starts_with(&format!("registry::{part}"))) =>
                {
                    Self::PoolThread
                }
                _ => Self::Pool,
            };
        }
        if name.contains("sync::condvar::") || name.contains("::condvar::Condvar") {
            return Self::Condition;
        }
        // What a library was given to call it may have within it, but on the stack.
        let is_library = ["std::", "core::", "alloc::"].iter().any(|root| name.starts_with(root));
        let polls = name.contains("poll") || name.contains("closure") && !is_library;
        match name {
            _ if polls || name.starts_with("std::panicking::") => Self::Polls,
            _ if name.starts_with("std::thread::local::LocalKey") => Self::Local,
            _ => Self::Other,
        }
    }

    /// How a thread waits, by its functions, innermost first. The one that waits is the first that is not
    /// between it and the system: those further out may have waited in the same way before.
    fn waiting(functions: impl IntoIterator<Item = Self>) -> Option<Kind> {
        let mut functions = functions.into_iter().skip_while(|function| *function == Self::Between);
        match functions.next()? {
            Self::Waits(kind) => Some(kind),
            // Who waits for the pool does so by a condition of its own thread.
            Self::Condition => {
                let between = [Self::Between, Self::Condition, Self::Local];
                let outer = functions.find(|function| !between.contains(function));
                (outer == Some(Self::Pool)).then_some(Kind::Pool)
            }
            _ => None,
        }
    }
}

/// What is known of the program's functions: to read all its symbols takes long.
#[derive(Default)]
pub(super) struct Functions {
    image: Option<Arc<Image>>,
    /// By the offset of a place within them.
    known: HashMap<u64, Function>,
}

impl Functions {
    fn waiting(&mut self, image: &Arc<Image>, offsets: &[u64]) -> Option<Kind> {
        Function::waiting(self.at(image, offsets))
    }

    /// The functions at these places, or those of them that are known.
    fn at(&mut self, image: &Arc<Image>, offsets: &[u64]) -> impl Iterator<Item = Function> {
        if !self.image.as_ref().is_some_and(|known| Arc::ptr_eq(known, image)) {
            *self = Self { image: Some(Arc::clone(image)), known: HashMap::new() };
        }
        if !offsets.iter().all(|offset| self.known.contains_key(offset)) {
            if self.known.len() > MOST_KNOWN {
                self.known.clear();
            }
            let names = functions_at(image, offsets);
            let functions = names.iter().map(|name| Function::of(name.as_deref()));
            self.known.extend(offsets.iter().copied().zip(functions));
        }
        offsets.iter().filter_map(|offset| self.known.get(offset).copied())
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

/// The lock that a thread of parking_lot waits for at that word: it has the address in its data beside the
/// word. What else lies there may lead to words that look like locks, as counts of references do.
fn parked(at: u64, lock: Parked) -> Option<LockWord> {
    lock.word(bytes::word(at.checked_sub(KEY_BEFORE)?)?)
}

impl Parked {
    /// The word of the lock whose queue has that key, if its state is that of a lock in whose queue a thread is.
    fn word(self, key: u64) -> Option<LockWord> {
        let address = if self == Self::Mutex { key } else { key & !1 };
        let word = LockWord { address, size: if self == Self::Mutex { 1 } else { 8 } };
        let is_aligned = address.is_multiple_of(word.size as u64);
        let state = word.read().filter(|_| is_aligned)?;
        self.has_waiter(state, key & 1 == 1).then_some(word)
    }

    /// Whether the state is that of a lock in whose queue a thread is: in the second one of its two, if it
    /// has two.
    fn has_waiter(self, state: u64, second: bool) -> bool {
        match self {
            // Locked, and threads wait.
            Self::Mutex => state == 3,
            // Four bits, then the number of readers. A writer waits in the second queue for readers to leave.
            Self::RwLock => {
                let (parked, writer_parked) = (state & 1 != 0, state & 2 != 0);
                let (upgradable, writer, readers) = (state & 4 != 0, state & 8 != 0, state >> 4);
                readers < MOST_READERS
                    && if second {
                        writer_parked && writer && readers > 0
                    } else {
                        parked && (writer || upgradable)
                    }
            }
            // Two bits, then the number of readers, all ones for a writer. Readers wait in the second queue.
            Self::Shard => {
                let (readers_parked, writers_parked) = (state & 1 != 0, state & 2 != 0);
                let (readers, writer) = (state >> 2, state >> 2 == u64::MAX >> 2);
                if second {
                    readers_parked && writer
                } else {
                    writers_parked && (writer || (1..MOST_READERS).contains(&readers))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Function, Kind, Parked};

    #[test]
    fn what_waits_is_the_innermost_function() {
        let kind =
            |names: &[&str]| Function::waiting(names.iter().map(|name| Function::of(Some(name))));
        let once = "<std::sys::sync::once::futex::Once>::call";
        assert_eq!(kind(&[once, "app::value"]), Some(Kind::Once));
        // It initialises the value, and waits for something else.
        assert_eq!(kind(&["<std::thread::thread::Thread>::park", "app::load", once]), None);
        let parked = "parking_lot_core::parking_lot::park::{{closure}}";
        let mutex = "parking_lot::raw_mutex::RawMutex::lock_slow";
        assert_eq!(kind(&[parked, mutex]), Some(Kind::Parked(Parked::Mutex)));
        let shard = "<dashmap::lock::RawRwLock>::lock_exclusive_slow";
        assert_eq!(kind(&[parked, shard]), Some(Kind::Parked(Parked::Shard)));
        assert_eq!(Function::waiting([Function::of(None), Function::of(Some(once))]), None);
        assert_eq!(kind(&[]), None);
        let condition = "<std::sys::sync::condvar::futex::Condvar>::wait_optional_timeout";
        let local = "<std::thread::local::LocalKey<rayon_core::latch::LockLatch>>::with";
        let cold = "<rayon_core::registry::Registry>::in_worker_cold";
        assert_eq!(kind(&[condition, local, cold]), Some(Kind::Pool));
        assert_eq!(kind(&[condition, "rayon_core::latch::LockLatch::wait"]), Some(Kind::Pool));
        // A thread of the pool that has nothing to do, and others that wait for a condition.
        let rests = "<rayon_core::sleep::Sleep>::sleep::<rayon_core::latch::CoreLatch>";
        assert_eq!(kind(&[condition, rests]), None);
        assert_eq!(kind(&[condition, "app::wait", cold]), None);
        assert_eq!(kind(&[condition, once]), None);
    }

    #[test]
    fn futures_may_be_polled_where_no_name_says_otherwise() {
        for (name, polls) in [
            ("app::show::{{closure}}", true),
            ("tokio::runtime::task::raw::poll", true),
            ("std::panicking::catch_unwind", true),
            ("std::sys::backtrace::__rust_begin_short_backtrace", false),
            ("<std::sys::thread::unix::Thread>::new::thread_start", false),
            ("tower_stall::report::reporter::Reporter::run", false),
            ("app::main", false),
        ] {
            assert_eq!(Function::of(Some(name)) == Function::Polls, polls, "{name}");
        }
        assert_eq!(Function::of(None), Function::Polls);
    }

    #[test]
    fn a_lock_with_waiters_is_known_by_its_state() {
        use Parked::{Mutex, RwLock, Shard};

        let readers = 1 << 4;
        for (lock, state, second, has_waiter) in [
            (Mutex, 3, false, true),
            (Mutex, 1, false, false),
            (RwLock, 0b1001, false, true),
            (RwLock, 0b1011 | readers, false, true),
            (RwLock, 0b1010 | readers, true, true),
            (RwLock, 0b1010, true, false),
            (RwLock, 0b1000 | readers, true, false),
            (RwLock, 0b0001 | readers, false, false),
            (RwLock, 0x7f00_1234_5679, false, false),
            (Shard, u64::MAX - 1, false, true),
            (Shard, 0b110, false, true),
            (Shard, 0b010, false, false),
            (Shard, u64::MAX - 2, true, true),
            (Shard, 0b101, true, false),
            (Shard, 0x7f00_1234_5676, false, false),
        ] {
            assert_eq!(lock.has_waiter(state, second), has_waiter, "{lock:?} {state:#b}");
        }
    }
}
