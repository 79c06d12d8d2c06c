//! What the hooks keep for each thread: the detectors that watch its runtime, and its open polls.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use super::thread_slots;
use crate::runtime::Runtime;
use crate::runtime::registry::{DetectorId, Registry};

thread_local! {
    static THREAD: RefCell<HookedThread> = const {
        RefCell::new(HookedThread {
            hooks: 0,
            changes: 0,
            watching: Vec::new(),
            #[cfg(tokio_unstable)]
            open: open::OpenPolls::new(),
        })
    };
}

struct HookedThread {
    /// `watching` is valid for this number of the hooks and this version of the detectors.
    hooks: u32,
    changes: u64,
    watching: Vec<WatchingDetector>,
    #[cfg(tokio_unstable)]
    open: open::OpenPolls,
}

/// A detector that watches the runtime.
struct WatchingDetector {
    #[cfg_attr(not(tokio_unstable), allow(dead_code, reason = "only polls need it"))]
    detector: DetectorId,
    registry: Weak<Registry>,
    runtime: Arc<Runtime>,
}

/// A thread starts, goes to sleep or wakes.
pub(super) fn note_thread(hooks: u32) {
    with(|thread| {
        thread.update(hooks);
        thread.note_worker();
    });
}

#[cfg(tokio_unstable)]
pub(super) use open::{begin, end};

/// No-op once thread-locals are destroyed.
fn with(act: impl FnOnce(&mut HookedThread)) {
    let _ = THREAD.try_with(|thread| {
        if let Ok(mut thread) = thread.try_borrow_mut() {
            act(&mut thread);
        }
    });
}

impl HookedThread {
    #[inline]
    fn update(&mut self, hooks: u32) {
        let changes = Registry::changes();
        if (self.hooks, self.changes) != (hooks, changes) {
            self.refresh(hooks, changes);
        }
    }

    #[cold]
    fn refresh(&mut self, hooks: u32, changes: u64) {
        let Ok(handle) = Handle::try_current() else { return };
        (self.hooks, self.changes) = (hooks, changes);
        let watching = |(registry, runtime): (Arc<Registry>, _)| {
            // Before the first poll needs it.
            thread_slots::slot(registry.id);
            WatchingDetector { detector: registry.id, registry: Arc::downgrade(&registry), runtime }
        };
        self.watching = Registry::watching(&handle).into_iter().map(watching).collect();
    }

    /// Notes which worker this thread runs, unless that is known.
    fn note_worker(&self) {
        let Some(worker) = tokio::runtime::worker_index() else { return };
        let thread = thread_slots::thread_number();
        for watching in &self.watching {
            if watching.runtime.is_owner(worker, thread) {
                continue;
            }
            if let Some(registry) = watching.registry.upgrade() {
                registry.note_owner(&watching.runtime, Some(worker), thread);
            }
        }
    }
}

#[cfg(tokio_unstable)]
mod open {
    //! The open polls of tasks. They nest where a task runs a runtime of its own.

    use std::panic::Location;

    use super::{WatchingDetector, with};
    use crate::labels::PollKind;
    use crate::mark::thread_slots::{Mark, PollGuard};
    use crate::runtime::registry::DetectorId;
    use crate::slot::LabelId;

    /// Size of each thread's cache of labels, by where a task was spawned.
    const PLACES: usize = 64;
    const THIS_FILE: &str = "src/mark/task_polls.rs";
    /// Where our own tasks are spawned.
    const OWN: &str = "src/ticker/";

    pub(super) struct OpenPolls {
        /// `None` where a poll begins, then its guards: one for each detector.
        guards: Vec<Option<PollGuard>>,
        known: [Option<KnownPlace>; PLACES],
    }

    #[derive(Clone, Copy)]
    struct KnownPlace {
        detector: DetectorId,
        place: &'static Location<'static>,
        /// `None` for our own tasks.
        label_id: Option<LabelId>,
    }

    /// A task is polled from now on.
    pub(crate) fn begin(hooks: u32, place: &'static Location<'static>) {
        with(|thread| {
            thread.update(hooks);
            thread.open.guards.push(None);
            for watching in &thread.watching {
                if let Some(label_id) = thread.open.label_id(watching, place) {
                    let mark = Mark { detector: watching.detector, label_id };
                    thread.open.guards.push(Some(mark.enter()));
                }
            }
        });
    }

    /// The poll that began last is over.
    pub(crate) fn end() {
        with(|thread| while let Some(Some(_ended)) = thread.open.guards.pop() {});
    }

    impl OpenPolls {
        pub(super) const fn new() -> Self {
            Self { guards: Vec::new(), known: [None; PLACES] }
        }

        #[inline]
        fn label_id(
            &mut self,
            watching: &WatchingDetector,
            place: &'static Location<'static>,
        ) -> Option<LabelId> {
            let address = std::ptr::from_ref(place).addr();
            let known = &mut self.known[(address >> 3) % PLACES];
            match known {
                Some(known)
                    if known.detector == watching.detector && std::ptr::eq(known.place, place) =>
                {
                    known.label_id
                }
                _ => {
                    let label_id = label_of(watching, place);
                    *known = Some(KnownPlace { detector: watching.detector, place, label_id });
                    label_id
                }
            }
        }
    }

    impl Drop for OpenPolls {
        fn drop(&mut self) {
            // A thread that ends inside a poll has given its slots back already.
            self.guards.drain(..).for_each(std::mem::forget);
        }
    }

    #[cold]
    fn label_of(watching: &WatchingDetector, place: &Location<'_>) -> Option<LabelId> {
        if is_own(place.file()) {
            return None;
        }
        let registry = watching.registry.upgrade()?;
        let label = format!("task spawned at {}:{}", short(place.file()), place.line());
        Some(registry.labels.id(&label, registry.threshold, PollKind::Task))
    }

    /// Whether a file is one of those that spawn our own tasks.
    fn is_own(file: &str) -> bool {
        let in_crate = file!().strip_suffix(THIS_FILE).and_then(|root| file.strip_prefix(root));
        in_crate.is_some_and(|file| file.starts_with(OWN))
    }

    /// The file without folders that differ between machines: fetched crates begin with their name,
    /// the standard library with `library`.
    fn short(file: &str) -> &str {
        let after = |place: &str, folders: usize| {
            let rest = file.split_once(place)?.1;
            rest.splitn(folders + 1, ['/', '\\']).last()
        };
        after("registry/src/", 1)
            .or_else(|| after("git/checkouts/", 2))
            .or_else(|| after("/rustc/", 1))
            .unwrap_or(file)
    }

    #[cfg(test)]
    mod tests {
        use super::{OWN, THIS_FILE, is_own, short};

        #[test]
        fn our_own_tasks_are_told_from_others() {
            let root = file!().strip_suffix(THIS_FILE).expect("this file is where it says");
            assert!(is_own(&format!("{root}{OWN}tick.rs")));
            assert!(!is_own(&format!("{root}src/admin/server.rs")));
        }

        #[test]
        fn places_do_not_depend_on_the_machine() {
            for (file, expected) in [
                ("src/jobs.rs", "src/jobs.rs"),
                ("/home/me/app/src/jobs.rs", "/home/me/app/src/jobs.rs"),
                (
                    "/home/me/.cargo/registry/src/index-1/hyper-1.7.0/src/a.rs",
                    "hyper-1.7.0/src/a.rs",
                ),
                (r"C:\cargo\registry/src/index-1\hyper-1.7.0\a.rs", r"hyper-1.7.0\a.rs"),
                ("/home/me/.cargo/git/checkouts/axum-1/abc/axum/src/a.rs", "axum/src/a.rs"),
                ("/rustc/0123/library/std/src/a.rs", "library/std/src/a.rs"),
            ] {
                assert_eq!(short(file), expected);
            }
        }
    }
}
