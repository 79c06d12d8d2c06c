//! Short tasks on a watched runtime. Each one also shows which worker its thread runs.

use std::sync::Arc;

use crate::clock;
use crate::mark::thread_slots;
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;

/// Spawns a task that shows that the runtime polls tasks. A parked worker wakes to run it, and takes
/// over the runtime's I/O and time drivers if no other worker has them.
pub(crate) fn ping(registry: &Arc<Registry>, runtime: &Arc<Runtime>) {
    spawn(registry, runtime, 1, |runtime| {
        runtime.heartbeat.touch(clock::now());
        runtime.status.answer();
    });
}

/// Spawns as many tasks as there are workers.
pub(crate) fn map_workers(registry: &Arc<Registry>, runtime: &Arc<Runtime>) {
    spawn(registry, runtime, runtime.workers, |_| ());
}

fn spawn(registry: &Arc<Registry>, runtime: &Arc<Runtime>, tasks: usize, run: fn(&Runtime)) {
    let Some(handle) = runtime.handle() else { return };
    for _ in 0..tasks {
        let (registry, runtime) = (Arc::downgrade(registry), Arc::downgrade(runtime));
        drop(handle.spawn(async move {
            if let (Some(registry), Some(runtime)) = (registry.upgrade(), runtime.upgrade()) {
                run(&runtime);
                note_owner(&registry, &runtime);
            }
        }));
    }
}

/// Notes that the calling thread runs its worker.
pub(super) fn note_owner(registry: &Registry, runtime: &Runtime) {
    registry.note_owner(runtime, tokio::runtime::worker_index(), thread_slots::thread_number());
}
