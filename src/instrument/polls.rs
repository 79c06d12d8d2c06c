//! What a thread of a runtime with our hooks keeps: the detectors that watch the runtime, and the
//! polls it is in.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use tokio::runtime::Handle;

use crate::detector::hub::{DetectorId, Hub};
use crate::detector::local;
use crate::detector::runtime::Runtime;

thread_local! {
    static THREAD: RefCell<Thread> = const { RefCell::new(Thread::new()) };
}

struct Thread {
    /// What `watching` is the answer for: the hooks that asked, and the state of the detectors.
    wiring: u32,
    changes: u64,
    watching: Vec<Watching>,
    #[cfg(tokio_unstable)]
    open: open::Open,
}

/// A detector that watches the runtime.
struct Watching {
    #[cfg_attr(not(tokio_unstable), allow(dead_code, reason = "polls are not told of"))]
    detector: DetectorId,
    hub: Weak<Hub>,
    runtime: Arc<Runtime>,
}

/// A thread starts, goes to sleep or wakes.
pub(super) fn met(wiring: u32) {
    with(|thread| {
        thread.settle(wiring);
        thread.say_who();
    });
}

#[cfg(tokio_unstable)]
pub(super) use open::{begin, end};

/// Not where the thread is past its end.
fn with(act: impl FnOnce(&mut Thread)) {
    let _ = THREAD.try_with(|thread| {
        if let Ok(mut thread) = thread.try_borrow_mut() {
            act(&mut thread);
        }
    });
}

impl Thread {
    const fn new() -> Self {
        Self {
            wiring: 0,
            changes: 0,
            watching: Vec::new(),
            #[cfg(tokio_unstable)]
            open: open::Open::new(),
        }
    }

    #[inline]
    fn settle(&mut self, wiring: u32) {
        let changes = Hub::changes();
        if (self.wiring, self.changes) != (wiring, changes) {
            self.look_around(wiring, changes);
        }
    }

    #[cold]
    fn look_around(&mut self, wiring: u32, changes: u64) {
        let Ok(handle) = Handle::try_current() else { return };
        (self.wiring, self.changes) = (wiring, changes);
        let watching = |(hub, runtime): (Arc<Hub>, _)| {
            local::prepare(hub.id);
            Watching { detector: hub.id, hub: Arc::downgrade(&hub), runtime }
        };
        self.watching = Hub::watching(&handle).into_iter().map(watching).collect();
    }

    /// Says which worker this thread runs, unless that is known.
    fn say_who(&self) {
        let Some(worker) = tokio::runtime::worker_index() else { return };
        let thread = local::thread_number();
        for watching in &self.watching {
            if watching.runtime.is_owner(worker, thread) {
                continue;
            }
            if let Some(hub) = watching.hub.upgrade() {
                hub.note_owner(&watching.runtime, Some(worker), thread);
            }
        }
    }
}

#[cfg(tokio_unstable)]
mod open {
    //! The polls of tasks, one within the other where a task runs a runtime of its own.

    use std::panic::Location;

    use super::{Watching, with};
    use crate::detector::hub::DetectorId;
    use crate::detector::local::{self, Guard};
    use crate::detector::markers::Kind;

    /// Places whose markers a thread knows.
    const PLACES: usize = 64;
    /// Where our own tasks are spawned.
    const OWN: &str = "src/probe/";

    pub(super) struct Open {
        guards: Vec<Guard>,
        /// How many of them each poll has.
        polls: Vec<usize>,
        known: [Option<Known>; PLACES],
    }

    #[derive(Clone, Copy)]
    struct Known {
        detector: DetectorId,
        place: &'static Location<'static>,
        /// `None` for our own tasks.
        marker: Option<u32>,
    }

    /// A task is polled from now on.
    pub(crate) fn begin(wiring: u32, place: &'static Location<'static>) {
        with(|thread| {
            thread.settle(wiring);
            let before = thread.open.guards.len();
            for watching in &thread.watching {
                if let Some(marker) = thread.open.marker(watching, place) {
                    thread.open.guards.push(local::enter(watching.detector, marker));
                }
            }
            thread.open.polls.push(thread.open.guards.len() - before);
        });
    }

    /// The poll that began last is over.
    pub(crate) fn end() {
        with(|thread| {
            for _ in 0..thread.open.polls.pop().unwrap_or(0) {
                drop(thread.open.guards.pop());
            }
        });
    }

    impl Open {
        pub(super) const fn new() -> Self {
            Self { guards: Vec::new(), polls: Vec::new(), known: [None; PLACES] }
        }

        #[inline]
        fn marker(
            &mut self,
            watching: &Watching,
            place: &'static Location<'static>,
        ) -> Option<u32> {
            let address = std::ptr::from_ref(place).addr();
            let known = &mut self.known[(address >> 3) % PLACES];
            match known {
                Some(known)
                    if known.detector == watching.detector && std::ptr::eq(known.place, place) =>
                {
                    known.marker
                }
                _ => {
                    let marker = name(watching, place);
                    *known = Some(Known { detector: watching.detector, place, marker });
                    marker
                }
            }
        }
    }

    impl Drop for Open {
        fn drop(&mut self) {
            // A thread that ends within a poll has given its slots back by now.
            self.guards.drain(..).for_each(std::mem::forget);
        }
    }

    #[cold]
    fn name(watching: &Watching, place: &Location<'_>) -> Option<u32> {
        let crate_root = file!().strip_suffix("src/instrument/polls.rs").unwrap_or_default();
        let own = place.file().strip_prefix(crate_root);
        if own.is_some_and(|file| file.starts_with(OWN)) {
            return None;
        }
        let hub = watching.hub.upgrade()?;
        let label = format!("task spawned at {}:{}", short(place.file()), place.line());
        Some(hub.markers.marker(&label, hub.threshold, Kind::Task))
    }

    /// Without the folders that are only this machine's: crates that were fetched begin with their
    /// name, the standard library with `library`.
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
        use super::short;

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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{RuntimeBuilderExt, RuntimeHooks};
    use crate::clock;
    use crate::detector::hub::Hub;
    use crate::detector::hub::tests::LIMITS;

    #[test]
    fn workers_are_known_without_a_poll_that_is_marked() {
        for hooks in [false, true] {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(2).enable_all();
            if hooks {
                builder.stall_hooks(RuntimeHooks::new());
            }
            let runtime = builder.build().expect("a runtime");
            let hub = Hub::new(LIMITS);
            let watched = hub.add_runtime("hooked", runtime.handle()).expect("it watches");
            let known = || (0..2).all(|worker| watched.owner(worker).is_some());
            let limit = Duration::from_millis(if hooks { 20_000 } else { 200 });
            let over = clock::now() + clock::nanos(limit);
            while !known() && clock::now() < over {
                let sleep = || async { tokio::time::sleep(Duration::from_millis(1)).await };
                let task = || runtime.spawn(sleep());
                let tasks: Vec<_> = (0..4).map(|_| task()).collect();
                for task in tasks {
                    runtime.block_on(task).expect("no panic");
                }
            }
            assert_eq!(known(), hooks);
            // They are let go of with the runtime's threads.
            drop(runtime);
            drop(hub);
        }
    }
}
