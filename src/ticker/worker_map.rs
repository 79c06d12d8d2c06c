//! Short tasks that say which thread runs which worker.

use std::sync::{Arc, Weak};

use crate::mark::thread_slots;
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;

/// Starts as many as there are workers. Each worker that takes one is known afterwards.
pub(crate) fn map_workers(registry: &Arc<Registry>, runtime: &Arc<Runtime>) {
    let Some(handle) = runtime.handle() else { return };
    for _ in 0..runtime.workers {
        drop(handle.spawn(say(Arc::downgrade(registry), Arc::downgrade(runtime))));
    }
}

async fn say(registry: Weak<Registry>, runtime: Weak<Runtime>) {
    if let (Some(registry), Some(runtime)) = (registry.upgrade(), runtime.upgrade()) {
        registry.note_owner(
            &runtime,
            tokio::runtime::worker_index(),
            thread_slots::thread_number(),
        );
    }
}
