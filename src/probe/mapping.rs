//! Short tasks that say which thread runs which worker.

use std::sync::{Arc, Weak};

use crate::detector::hub::Hub;
use crate::detector::local;
use crate::detector::runtime::Runtime;

/// Starts as many as there are workers. Each worker that takes one is known afterwards.
pub(crate) fn map_workers(hub: &Arc<Hub>, runtime: &Arc<Runtime>) {
    let Some(handle) = runtime.handle() else { return };
    for _ in 0..runtime.workers {
        drop(handle.spawn(say(Arc::downgrade(hub), Arc::downgrade(runtime))));
    }
}

async fn say(hub: Weak<Hub>, runtime: Weak<Runtime>) {
    if let (Some(hub), Some(runtime)) = (hub.upgrade(), runtime.upgrade()) {
        hub.note_owner(&runtime, tokio::runtime::worker_index(), local::thread_number());
    }
}
