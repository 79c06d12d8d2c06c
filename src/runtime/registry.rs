//! The registry: the state that threads of the service and the watchdog of one detector share.

use std::sync::{Arc, Mutex, OnceLock, Weak};

use tokio::runtime::Handle;

use super::allowed_blocks::AllowedBlocks;
use super::runtime::Runtime;
use super::scan_barrier::ScanBarrier;
use super::wake_up::WakeUp;
use crate::clock::Nanos;
use crate::label::{intern, printable};
use crate::labels::{LabelTable, OTHER, find};
use crate::log_status::LogStatus;
use crate::slot::{Identity, OpenPoll, Place, Slot, SlotReading};
use crate::stall::{StackDetail, StackOutcome, StallStore};
use crate::sync::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering, lock};
use crate::vitals::Vitals;

use Ordering::{Acquire, Relaxed, Release};

/// Names of runtimes that a detector ever gives, each of which has series and a text for good. Further
/// runtimes share the name `other`.
const MOST_NAMES: usize = 32;

/// Identifies a detector in slots, futures and thread-locals. Never reused.
pub(crate) type DetectorId = u32;
/// The id of no detector.
pub(crate) const NO_DETECTOR: DetectorId = 0;

static LAST_ID: AtomicU32 = AtomicU32::new(NO_DETECTOR);
static REGISTRIES: Mutex<Vec<(DetectorId, Weak<Registry>)>> = Mutex::new(Vec::new());
/// Grows whenever any detector starts or stops watching a runtime.
static CHANGES: AtomicU64 = AtomicU64::new(1);

/// The settings of a registry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) threshold: Nanos,
    pub(crate) handlers: usize,
    pub(crate) history: usize,
    /// `false` if detection is switched off: threads have slots, but nothing reads them.
    pub(crate) watching: bool,
    /// How stacks are taken: a label of the build info.
    pub(crate) capture: &'static str,
    /// Called when a thread of an unknown runtime is found.
    pub(crate) on_new_runtime: Option<fn()>,
    /// Whether marked polls count on threads without a worker too.
    pub(crate) everywhere: bool,
}

/// For tests, benches and the fuzzer.
#[cfg(any(test, fuzzing, feature = "__bench"))]
pub(crate) const LIMITS: Limits = Limits {
    threshold: 100_000_000,
    handlers: 8,
    history: 8,
    watching: true,
    capture: "off",
    on_new_runtime: None,
    everywhere: false,
};

#[derive(Debug)]
pub(crate) struct Registry {
    pub(crate) id: DetectorId,
    pub(crate) threshold: Nanos,
    /// Shared with the layers, which do not keep the registry.
    pub(crate) labels: Arc<LabelTable>,
    pub(crate) allowed_blocks: AllowedBlocks,
    pub(crate) store: StallStore,
    pub(crate) scan_barrier: ScanBarrier,
    pub(crate) wake_up: WakeUp,
    /// How the threads of the detector do.
    pub(crate) vitals: Arc<Vitals>,
    /// Log lines and reports that were suppressed.
    pub(crate) suppressed: AtomicU64,
    pub(crate) capture: &'static str,
    /// What stacks show, once that is known.
    pub(crate) stack_detail: OnceLock<StackDetail>,
    pub(crate) log_status: Mutex<LogStatus>,
    /// Requested stacks, by outcome.
    pub(crate) captures: [AtomicU64; StackOutcome::COUNT],
    /// Requests that were turned away.
    pub(crate) shed: AtomicU64,
    /// Connections of the admin server that gave way to others or took too long.
    pub(crate) admin_dropped: AtomicU64,
    on_new_runtime: Option<fn()>,
    watching: AtomicBool,
    slots: Mutex<Vec<&'static Slot>>,
    runtimes: Mutex<Runtimes>,
    /// Grows whenever `slots` or `runtimes` change.
    version: AtomicU64,
    claims: AtomicU64,
    /// Requests that began minus those that ended on threads that are gone.
    in_flight: AtomicI64,
}

#[derive(Debug, Default)]
struct Runtimes {
    watched: Vec<Arc<Runtime>>,
    /// All names given so far, also to runtimes that have ended.
    names: Vec<&'static str>,
    last_index: u32,
}

impl Registry {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        let labels = Arc::new(LabelTable::new(limits.handlers, limits.everywhere));
        let allowed_blocks = AllowedBlocks::new(&labels);
        let registry = Arc::new(Self {
            id: LAST_ID.fetch_add(1, Relaxed) + 1,
            threshold: limits.threshold,
            labels,
            allowed_blocks,
            store: StallStore::new(limits.history),
            scan_barrier: ScanBarrier::default(),
            wake_up: WakeUp::default(),
            vitals: Arc::default(),
            suppressed: AtomicU64::new(0),
            capture: limits.capture,
            stack_detail: OnceLock::new(),
            log_status: Mutex::default(),
            captures: Default::default(),
            shed: AtomicU64::new(0),
            admin_dropped: AtomicU64::new(0),
            on_new_runtime: limits.on_new_runtime,
            watching: AtomicBool::new(limits.watching),
            slots: Mutex::default(),
            runtimes: Mutex::default(),
            version: AtomicU64::new(1),
            claims: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
        });
        let mut registries = lock(&REGISTRIES);
        registries.retain(|(_, registry)| registry.strong_count() > 0);
        registries.push((registry.id, Arc::downgrade(&registry)));
        drop(registries);
        registry
    }

    /// The registry of a detector, if it still exists.
    pub(crate) fn find(id: DetectorId) -> Option<Arc<Self>> {
        let registries = lock(&REGISTRIES);
        registries.iter().find(|(known, _)| *known == id)?.1.upgrade()
    }

    /// The detectors that watch the runtime of the handle, and what they know of it.
    pub(crate) fn watching(handle: &Handle) -> Vec<(Arc<Self>, Arc<Runtime>)> {
        let registries: Vec<_> =
            lock(&REGISTRIES).iter().filter_map(|(_, registry)| registry.upgrade()).collect();
        let watching = |registry: Arc<Self>| {
            let runtime = lock(&registry.runtimes).find(handle)?;
            Some((registry, runtime))
        };
        registries.into_iter().filter_map(watching).collect()
    }

    /// Grows whenever the answer of [`watching`](Self::watching) may have changed.
    #[inline]
    pub(crate) fn changes() -> u64 {
        CHANGES.load(Acquire)
    }

    pub(crate) fn is_watching(&self) -> bool {
        self.watching.load(Acquire)
    }

    // Slots.

    pub(crate) fn add_slot(&self, slot: &'static Slot) {
        lock(&self.slots).push(slot);
        self.version.fetch_add(1, Release);
        // Nobody has asked the new slot for it.
        self.wake_up.wake();
    }

    /// Removes the slot of a thread that ends. `in_flight` is its share of the requests in flight.
    pub(crate) fn remove_slot(&self, slot: &'static Slot, in_flight: i64) {
        lock(&self.slots).retain(|known| !std::ptr::eq(*known, slot));
        self.in_flight.fetch_add(in_flight, Relaxed);
        let runtimes = lock(&self.runtimes);
        if let Some(runtime) = runtimes.watched.iter().find(|known| known.index == slot.runtime()) {
            runtime.in_flight.fetch_add(in_flight, Relaxed);
        }
        drop(runtimes);
        self.version.fetch_add(1, Release);
    }

    pub(crate) fn slots(&self) -> Vec<&'static Slot> {
        lock(&self.slots).clone()
    }

    /// The marked polls that are open.
    pub(crate) fn open_polls(&self) -> Vec<OpenPoll> {
        let open = |slot: &Slot| match slot.read() {
            SlotReading::Open(poll) => Some(poll),
            SlotReading::Between(_) => None,
        };
        self.slots().into_iter().filter_map(open).collect()
    }

    /// What that is a poll of: the innermost mark.
    pub(crate) fn handler(&self, poll: &OpenPoll) -> Option<&'static str> {
        let id = poll.inner.map_or(poll.label_id, |inner| inner.label_id());
        let mut known = Vec::new();
        self.labels.update(&mut known);
        find(&known, id).map(|known| known.label)
    }

    /// Grows whenever slots or runtimes come or go.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Acquire)
    }

    /// The identity of the calling thread, for its slot.
    pub(crate) fn identify(&self, thread: u32) -> Identity {
        let Some(runtime) = Handle::try_current().ok().and_then(|handle| self.runtime(&handle))
        else {
            return Identity { thread, ..Identity::default() };
        };
        let worker = worker_here().filter(|worker| *worker < runtime.workers);
        let claim = self.note_owner(&runtime, worker, thread);
        let worker = worker.and_then(|worker| u32::try_from(worker).ok());
        Identity { place: Place { runtime: runtime.index, worker }, thread, claim }
    }

    /// Notes which thread runs a worker now. Returns the number of the claim.
    pub(crate) fn note_owner(&self, runtime: &Runtime, worker: Option<usize>, thread: u32) -> u64 {
        let claim = self.claims.fetch_add(1, Relaxed) + 1;
        if let Some(worker) = worker {
            runtime.note_owner(worker, thread, claim);
        }
        claim
    }

    // Requests.

    /// Requests inside the layer now, on the threads of one runtime or on all. `slots` are those of
    /// [`slots`](Self::slots).
    pub(crate) fn requests_in_flight(
        &self,
        runtime: Option<&Runtime>,
        slots: impl Iterator<Item = &'static Slot>,
    ) -> u64 {
        let gone = runtime.map_or(&self.in_flight, |runtime| &runtime.in_flight);
        let slots = slots.filter(|slot| runtime.is_none_or(|known| known.index == slot.runtime()));
        let sum = slots.map(Slot::in_flight).sum::<i64>() + gone.load(Relaxed);
        u64::try_from(sum).unwrap_or(0)
    }

    // Runtimes.

    pub(crate) fn runtimes(&self) -> Vec<Arc<Runtime>> {
        lock(&self.runtimes).watched.clone()
    }

    /// What is known of a runtime, which is watched from now on. `None` if the detector is off or
    /// stopped.
    pub(crate) fn runtime(&self, handle: &Handle) -> Option<Arc<Runtime>> {
        self.find_or_add(None, handle)
    }

    /// The same under a name that the user chose. A runtime that is already watched keeps its name.
    pub(crate) fn add_runtime(&self, name: &str, handle: &Handle) -> Option<Arc<Runtime>> {
        self.find_or_add(Some(name), handle)
    }

    fn find_or_add(&self, name: Option<&str>, handle: &Handle) -> Option<Arc<Runtime>> {
        if !self.is_watching() {
            return None;
        }
        let mut runtimes = lock(&self.runtimes);
        if let Some(known) = runtimes.find(handle) {
            return Some(known);
        }
        let runtime = runtimes.add(name, handle);
        drop(runtimes);
        self.runtimes_changed();
        if let (None, Some(on_new_runtime)) = (name, self.on_new_runtime) {
            on_new_runtime();
        }
        // If the detector was stopped meanwhile, it did not know of this runtime.
        if !self.is_watching() {
            self.release_runtimes();
            return None;
        }
        Some(runtime)
    }

    /// Stops watching a runtime that has ended.
    pub(crate) fn remove_runtime(&self, ended: &Runtime) {
        ended.release();
        lock(&self.runtimes).watched.retain(|runtime| runtime.index != ended.index);
        self.runtimes_changed();
    }

    fn release_runtimes(&self) {
        let watched = std::mem::take(&mut lock(&self.runtimes).watched);
        for runtime in watched {
            runtime.release();
        }
        self.runtimes_changed();
    }

    fn runtimes_changed(&self) {
        self.version.fetch_add(1, Release);
        CHANGES.fetch_add(1, Release);
        self.wake_up.wake();
    }

    /// Ends the watch for good.
    pub(crate) fn stop(&self) {
        self.watching.store(false, Release);
        self.release_runtimes();
    }
}

/// Which worker of its runtime the calling thread runs.
fn worker_here() -> Option<usize> {
    #[cfg(test)]
    if let Some(worker) = super::by_hand::worker() {
        return worker;
    }
    tokio::runtime::worker_index()
}

impl Runtimes {
    fn find(&self, handle: &Handle) -> Option<Arc<Runtime>> {
        self.watched.iter().find(|runtime| runtime.id == handle.id()).cloned()
    }

    fn add(&mut self, name: Option<&str>, handle: &Handle) -> Arc<Runtime> {
        self.last_index += 1;
        let first = self.last_index == 1;
        let free = self.free_name(name.or(first.then_some("main")));
        let runtime = Arc::new(Runtime::new(self.last_index, free, name.is_some(), handle));
        self.watched.push(Arc::clone(&runtime));
        runtime
    }

    /// The given name, or `runtime`, with a number from 2 unless the given name is free. The names of
    /// runtimes that ended are free again.
    fn free_name(&mut self, name: Option<&str>) -> &'static str {
        let base = printable(name.unwrap_or("runtime"));
        let numbered = (2..=MOST_NAMES + 1).map(|number| format!("{base}-{number}"));
        let mut names = name.map(|_| base.to_string()).into_iter().chain(numbered);
        let is_free = |name: &String| !self.watched.iter().any(|runtime| runtime.name == name);
        let Some(name) = names.find(is_free) else { return OTHER };
        if let Some(known) = self.names.iter().find(|known| **known == name) {
            return known;
        }
        if self.names.len() >= MOST_NAMES {
            return OTHER;
        }
        let name = intern(&name);
        self.names.push(name);
        name
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn tokio() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    #[test]
    fn runtimes_have_the_names_given_or_numbers() {
        let registry = Registry::new(LIMITS);
        let runtimes: Vec<_> = (0..4).map(|_| tokio()).collect();
        let name = |at: usize, name| {
            let handle = runtimes[at].handle();
            match name {
                Some(name) => registry.add_runtime(name, handle).expect("watching").name,
                None => registry.runtime(handle).expect("watching").name,
            }
        };
        assert_eq!(name(0, Some("main")), "main");
        assert_eq!(name(1, None), "runtime-2");
        assert_eq!(name(2, Some("main")), "main-2");
        assert_eq!(name(1, Some("late")), "runtime-2", "a name does not change");
        registry.remove_runtime(&registry.runtimes()[1]);
        assert_eq!(name(3, None), "runtime-2", "a free name is given again");
    }

    #[test]
    fn runtimes_past_the_cap_share_a_name() {
        let registry = Registry::new(LIMITS);
        let runtimes: Vec<_> = (0..=MOST_NAMES).map(|_| tokio()).collect();
        let names: Vec<_> = runtimes
            .iter()
            .map(|runtime| registry.runtime(runtime.handle()).expect("watching").name)
            .collect();
        assert_eq!(names.last(), Some(&OTHER));
        assert_eq!(names.iter().filter(|name| **name == OTHER).count(), 1);
    }

    #[test]
    fn names_of_runtimes_that_ended_count_and_are_given_again() {
        let registry = Registry::new(LIMITS);
        let name_of_one = |name: &str| {
            let tokio = tokio();
            let runtime = registry.add_runtime(name, tokio.handle()).expect("watching");
            registry.remove_runtime(&runtime);
            runtime.name
        };
        let names: Vec<_> =
            (0..300).map(|number| name_of_one(&format!("tenant {number}"))).collect();
        assert_eq!(names.iter().filter(|name| **name != OTHER).count(), MOST_NAMES);
        assert_eq!(name_of_one("tenant 7"), "tenant 7");
        assert_eq!(name_of_one("late"), OTHER);
    }

    #[test]
    fn a_stopped_registry_holds_and_meets_no_runtime() {
        let registry = Registry::new(LIMITS);
        let runtime = tokio();
        let known = registry.runtime(runtime.handle()).expect("watching");
        registry.stop();
        assert!(known.handle().is_none() && registry.runtimes().is_empty());
        assert!(registry.runtime(runtime.handle()).is_none());
    }
}
