//! The slots of each thread: found without a lock, given back when the thread ends.
//!
//! Slots are never freed; a pool hands them on. So a plain reference to a slot outlives its thread,
//! its detector and all futures, without reference counts.

use std::array::from_fn;
use std::cell::{Cell, RefCell};
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, Once, OnceLock, Weak};

use tokio::runtime::Handle;

use crate::clock;
use crate::runtime::registry::{DetectorId, NO_DETECTOR, Registry};
use crate::slot::{Entered, Identity, LabelId, Slot};
use crate::sync::{AtomicU32, Ordering, lock};

/// Slots are made this many at a time, side by side, for the watchdog's walk.
const CHUNK: usize = 16;

static POOL: Mutex<Vec<&'static Slot>> = Mutex::new(Vec::new());

thread_local! {
    /// The slot used last: in nearly every program the only one. Without a destructor, so that
    /// reading it is one load.
    static CURRENT: Cell<(DetectorId, Option<&'static Slot>)> = const { Cell::new((NO_DETECTOR, None)) };
    /// All slots of this thread.
    static ATTACHED: RefCell<Attached> = const { RefCell::new(Attached(Vec::new())) };
    static NUMBER: Cell<u32> = const { Cell::new(0) };
}

struct Attached(Vec<Attachment>);

struct Attachment {
    detector: DetectorId,
    slot: &'static Slot,
    registry: Weak<Registry>,
}

/// What a marked future carries: a detector and a label. Two numbers, so that copies cost nothing
/// and no detector is kept alive. The default is of no detector.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) detector: DetectorId,
    pub(crate) label_id: LabelId,
}

/// An open poll of this thread; left when dropped, in a panic too.
#[derive(Debug)]
#[must_use]
pub(crate) struct PollGuard {
    pub(crate) slot: &'static Slot,
    entered: Entered,
    /// A poll ends on the thread it began on.
    _on_this_thread: PhantomData<*mut ()>,
}

impl Mark {
    /// Enters a poll on the calling thread.
    #[inline]
    pub(crate) fn enter(self) -> PollGuard {
        let Self { detector, label_id } = self;
        let slot = slot(detector);
        // Moved, so that nothing is put on the stack for a call that is rare.
        let entered = slot.enter(label_id, move |wake| answer(detector, wake));
        PollGuard { slot, entered, _on_this_thread: PhantomData }
    }
}

impl Drop for PollGuard {
    #[inline]
    fn drop(&mut self) {
        self.slot.leave(self.entered, clock::now);
    }
}

/// The calling thread's slot for `detector`, taken from the pool where it has none yet.
#[inline]
pub(crate) fn slot(detector: DetectorId) -> &'static Slot {
    let (current, slot) = CURRENT.get();
    match slot {
        Some(slot) if current == detector => slot,
        _ => attach(detector),
    }
}

/// The detectors that have a slot on this thread or watch the runtime it is in.
pub(super) fn registries_here() -> Vec<Arc<Registry>> {
    let mut registries = Vec::new();
    // There are none once thread-locals are destroyed.
    let _ = ATTACHED.try_with(|attached| {
        registries.extend(attached.borrow().0.iter().filter_map(|here| here.registry.upgrade()));
    });
    if let Ok(handle) = Handle::try_current() {
        registries.extend(Registry::watching(&handle).into_iter().map(|(registry, _)| registry));
    }
    registries.sort_by_key(|registry| registry.id);
    registries.dedup_by_key(|registry| registry.id);
    registries
}

/// Answers the watchdog's questions at the begin of a poll.
#[cold]
pub(super) fn answer(detector: DetectorId, wake: bool) -> Identity {
    let Some(registry) = Registry::find(detector) else { return Identity::default() };
    if wake {
        registry.wake_up.wake();
    }
    registry.identify(thread_number())
}

/// The kernel's id of this thread, or a number of our own where there is none.
pub(crate) fn thread_number() -> u32 {
    static LAST: AtomicU32 = AtomicU32::new(0);
    static FORKS: Once = Once::new();
    if NUMBER.get() == 0 {
        // The thread of a forked child has a number of its own.
        FORKS.call_once(|| crate::sys::at_fork(forget_number));
        let number = match crate::sys::thread_id() {
            0 => LAST.fetch_add(1, Ordering::Relaxed) + 1,
            number => number,
        };
        NUMBER.set(number);
    }
    NUMBER.get()
}

extern "C" fn forget_number() {
    NUMBER.set(0);
}

#[cold]
fn attach(detector: DetectorId) -> &'static Slot {
    if detector == NO_DETECTOR {
        return unwatched();
    }
    let slot = ATTACHED.try_with(|attached| Some(attached.try_borrow_mut().ok()?.slot(detector)));
    match slot.ok().flatten() {
        Some(slot) => {
            CURRENT.set((detector, Some(slot)));
            slot
        }
        // The thread ends: its thread-locals are destroyed, and values left in it are dropped.
        None => unwatched(),
    }
}

/// A slot that no watchdog looks at.
fn unwatched() -> &'static Slot {
    static UNWATCHED: OnceLock<Slot> = OnceLock::new();
    UNWATCHED.get_or_init(Slot::new)
}

impl Attached {
    fn slot(&mut self, detector: DetectorId) -> &'static Slot {
        if let Some(here) = self.0.iter().find(|here| here.detector == detector) {
            return here.slot;
        }
        // Slots of detectors that are gone are free again.
        self.0.retain(|here| {
            let is_needed = here.registry.strong_count() > 0 || here.slot.is_open();
            if !is_needed {
                here.free();
            }
            is_needed
        });
        let slot = take_from_pool();
        // Futures outlive their detector: then they have a slot that nobody reads.
        let registry = Registry::find(detector).map_or_else(Weak::new, |registry| {
            registry.add_slot(slot);
            Arc::downgrade(&registry)
        });
        self.0.push(Attachment { detector, slot, registry });
        slot
    }
}

impl Attachment {
    /// Gives the slot back.
    fn free(&self) {
        let in_flight = self.slot.give_up();
        if let Some(registry) = self.registry.upgrade() {
            registry.remove_slot(self.slot, in_flight);
        }
        lock(&POOL).push(self.slot);
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        CURRENT.set((NO_DETECTOR, None));
        for attachment in &self.0 {
            attachment.free();
        }
    }
}

fn take_from_pool() -> &'static Slot {
    let mut pool = lock(&POOL);
    pool.pop().unwrap_or_else(|| {
        let chunk: &'static [Slot; CHUNK] = Box::leak(Box::new(from_fn(|_| Slot::new())));
        let [slot, others @ ..] = chunk;
        pool.extend(others);
        slot
    })
}

/// Has the calling thread play the one that has this slot, and this number for the kernel.
#[cfg(test)]
pub(crate) fn play(detector: DetectorId, slot: Option<&'static Slot>, number: u32) {
    CURRENT.set((detector, slot));
    NUMBER.set(number);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::registry::LIMITS;
    use crate::slot::SlotReading;

    fn enter(registry: &Registry, label_id: u32) -> PollGuard {
        Mark { detector: registry.id, label_id: LabelId(label_id) }.enter()
    }

    fn slots(registry: &Registry) -> Vec<&'static Slot> {
        registry.slots()
    }

    #[test]
    fn each_thread_has_a_slot_and_gives_it_back_at_its_end() {
        let registry = Registry::new(LIMITS);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                drop(enter(&registry, 1));
                slot(registry.id).count_in_flight(1);
                assert_eq!(slots(&registry).len(), 1);
            });
            // The scope's end alone does not wait for the thread's destructors.
            thread.join().expect("no panic");
        });
        assert!(slots(&registry).is_empty());
        assert_eq!(
            registry.requests_in_flight(None, std::iter::empty()),
            1,
            "the count outlives the thread"
        );
    }

    #[test]
    fn two_detectors_on_one_thread_see_their_own_labels() {
        let (first, second) = (Registry::new(LIMITS), Registry::new(LIMITS));
        let outer = enter(&first, 1);
        let inner = enter(&second, 2);
        let label_id = |registry: &Registry| match slots(registry)[0].read() {
            SlotReading::Open(open) => open.label_id.0,
            SlotReading::Between(_) => 0,
        };
        assert_eq!((label_id(&first), label_id(&second)), (1, 2));
        drop(inner);
        assert_eq!((label_id(&first), label_id(&second)), (1, 0));
        drop(outer);
        assert_eq!(label_id(&first), 0);
    }

    #[test]
    fn a_panic_leaves_the_poll() {
        let registry = Registry::new(LIMITS);
        drop(enter(&registry, 1));
        let before = slots(&registry)[0].sequence();
        let caught = std::panic::catch_unwind(|| {
            let _guard = enter(&registry, 1);
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(caught.is_err());
        assert_eq!(slots(&registry)[0].read(), SlotReading::Between(before + 2));
    }

    #[test]
    fn detectors_that_went_do_not_pile_up_slots() {
        for _ in 0..100 {
            let registry = Registry::new(LIMITS);
            drop(enter(&registry, 1));
        }
        let held = ATTACHED.with(|attached| attached.borrow().0.len());
        assert!(held <= 2, "{held} slots are held");
    }

    #[test]
    fn futures_outlive_their_detector() {
        let registry = Registry::new(LIMITS);
        let id = registry.id;
        drop(registry);
        drop(Mark { detector: id, label_id: LabelId(1) }.enter());
        slot(id).count_in_flight(-1);
    }

    #[test]
    fn what_is_of_no_detector_takes_no_slot() {
        drop(Mark::default().enter());
        assert!(CURRENT.get().1.is_none());
        assert!(ATTACHED.with(|attached| attached.borrow().0.is_empty()));
    }
}
