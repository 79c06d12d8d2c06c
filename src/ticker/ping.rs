//! A short task that shows that the runtime polls tasks.

use std::sync::{Arc, Weak};

use crate::clock;
use crate::mark::thread_slots;
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;

/// Starts one. Where a worker is parked it wakes to take it, and finds the timers and sockets of
/// the runtime, if no other worker looks after them.
pub(crate) fn ask(registry: &Arc<Registry>, runtime: &Arc<Runtime>) {
    if let Some(handle) = runtime.handle() {
        drop(handle.spawn(answer(Arc::downgrade(registry), Arc::downgrade(runtime))));
    }
}

async fn answer(registry: Weak<Registry>, runtime: Weak<Runtime>) {
    if let (Some(registry), Some(runtime)) = (registry.upgrade(), runtime.upgrade()) {
        runtime.heartbeat.touch(clock::now());
        runtime.status.answer();
        registry.note_owner(
            &runtime,
            tokio::runtime::worker_index(),
            thread_slots::thread_number(),
        );
    }
}
