//! A short task that shows that the runtime polls tasks.

use std::sync::{Arc, Weak};

use crate::clock;
use crate::detector::hub::Hub;
use crate::detector::local;
use crate::detector::runtime::Runtime;

/// Starts one. Where a worker is parked it wakes to take it, and finds the timers and sockets of
/// the runtime, if no other worker looks after them.
pub(crate) fn ask(hub: &Arc<Hub>, runtime: &Arc<Runtime>) {
    if let Some(handle) = runtime.handle() {
        drop(handle.spawn(answer(Arc::downgrade(hub), Arc::downgrade(runtime))));
    }
}

async fn answer(hub: Weak<Hub>, runtime: Weak<Runtime>) {
    if let (Some(hub), Some(runtime)) = (hub.upgrade(), runtime.upgrade()) {
        runtime.pulse.touch(clock::now());
        runtime.vitals.answer();
        hub.note_owner(&runtime, tokio::runtime::worker_index(), local::thread_number());
    }
}
