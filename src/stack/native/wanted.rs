//! What a thread waits for that another one may have: by the function that waits, and what it waits at.

use std::collections::HashMap;
use std::sync::Arc;

use super::bytes;
use super::cleanup::LockWord;
use super::debug_info::functions_at;
use super::still::{ID_IN_THREAD, Still};
use super::take::Taker;
use super::unwind::Walk;
use crate::stack::raw::Image;
use crate::stall::HoldingRole;

/// How many of the inner frames tell what a thread waits for.
const INNER_FRAMES: usize = 24;
/// About how many places in functions are remembered.
const MOST_KNOWN: usize = 4096;
/// Bytes around the word that a thread of parking_lot waits at, among them the address of its lock.
const AROUND: u64 = 64;

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Lock(LockWord, HoldingRole),
    Thread(u32),
}

impl Taker {
    /// What a thread waits for.
    pub(super) fn wanted(&mut self, waiter: &Still, walk: &Walk) -> Option<Wanted> {
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
        let kind = self.functions.waiting(&image, &offsets)?;
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

/// What a function that is on a waiting thread's stack has to do with its wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Function {
    /// It is between the one that waits and the system.
    Between,
    Waits(Kind),
    Other,
}

impl Function {
    fn of(name: Option<&str>) -> Self {
        const BETWEEN: [&str; 3] = ["parking_lot_core::", "futex_wait", "core::ops::"];
        const KINDS: [(&str, Kind); 6] = [
            ("sync::mutex::futex::Mutex::lock_contended", Kind::Word),
            ("sync::rwlock::futex::RwLock::read_contended", Kind::Word),
            ("sync::rwlock::futex::RwLock::write_contended", Kind::AfterWord),
            ("sync::once::futex::Once::call", Kind::Once),
            ("sync::once::futex::Once::wait", Kind::Once),
            ("parking_lot::raw_mutex::RawMutex::lock_slow", Kind::Parked),
        ];
        let Some(name) = name else { return Self::Other };
        if BETWEEN.iter().any(|part| name.contains(part)) {
            return Self::Between;
        }
        // Newer compilers write `<path::Type>::function`.
        let name = name.replace(['<', '>'], "");
        let kind = KINDS.iter().find(|(part, _)| name.contains(part));
        kind.map_or(Self::Other, |(_, kind)| Self::Waits(*kind))
    }

    /// How a thread waits, by its functions, innermost first. The one that waits is the first that is not
    /// between it and the system: those further out may have waited in the same way before.
    fn waiting(functions: impl IntoIterator<Item = Self>) -> Option<Kind> {
        match functions.into_iter().find(|function| *function != Self::Between)? {
            Self::Waits(kind) => Some(kind),
            Self::Between | Self::Other => None,
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
        Function::waiting(offsets.iter().filter_map(|offset| self.known.get(offset).copied()))
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
    use super::{Function, Kind};

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
        assert_eq!(kind(&[parked, mutex]), Some(Kind::Parked));
        assert_eq!(Function::waiting([Function::of(None), Function::of(Some(once))]), None);
        assert_eq!(kind(&[]), None);
    }
}
