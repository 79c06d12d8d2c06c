//! Short tasks on a watched runtime. Each one also shows which worker its thread runs.

use std::sync::Arc;

use crate::clock::{self, Nanos};
use crate::mark::thread_slots;
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;

/// How long a task yields until each worker has run one.
const LONGEST_MAP: Nanos = 1_000_000;

/// Spawns a task that shows that the runtime polls tasks. A parked worker wakes to run it, and takes
/// over the runtime's I/O and time drivers if no other worker has them.
pub(crate) fn ping(registry: &Arc<Registry>, runtime: &Arc<Runtime>) {
    spawn(registry, runtime, 1, |runtime| {
        runtime.heartbeat.touch(clock::now());
        runtime.status.answer();
        false
    });
}

/// Spawns as many tasks as there are workers. They yield until each worker has run one, so that the idle
/// ones wake too, but for a moment only.
pub(crate) fn map_workers(registry: &Arc<Registry>, runtime: &Arc<Runtime>) {
    spawn(registry, runtime, runtime.workers, |runtime| {
        !(0..runtime.workers).all(|worker| runtime.owner(worker).is_some())
    });
}

/// `run` says whether to run again.
fn spawn(
    registry: &Arc<Registry>,
    runtime: &Arc<Runtime>,
    tasks: usize,
    run: fn(&Runtime) -> bool,
) {
    let Some(handle) = runtime.handle() else { return };
    for _ in 0..tasks {
        let (registry, runtime) = (Arc::downgrade(registry), Arc::downgrade(runtime));
        drop(handle.spawn(async move {
            let start = clock::now();
            while let (Some(registry), Some(runtime)) = (registry.upgrade(), runtime.upgrade()) {
                note_owner(&registry, &runtime);
                if !run(&runtime) || clock::now() - start >= LONGEST_MAP {
                    break;
                }
                drop((registry, runtime));
                tokio::task::yield_now().await;
            }
        }));
    }
}

/// Notes that the calling thread runs its worker.
pub(super) fn note_owner(registry: &Registry, runtime: &Runtime) {
    registry.note_owner(runtime, tokio::runtime::worker_index(), thread_slots::thread_number());
}
