//! Blocks that are no stalls.

use super::thread_slots::{answer, registries_here, slot};
use crate::clock;
use crate::slot::{Entered, Slot};

/// Runs `block`, which may block: it is no stall, however long it takes.
///
/// It is counted in `tower_stall_allowed_total{name}`. The parts of the poll before and after it are
/// measured separately. Lag and heartbeat still show how it delays other tasks.
///
/// It is a reason for a freeze of the runtime, but not for ever: a freeze counts from the time that the
/// block has lasted for [`dead_after`](crate::Builder::dead_after), and from its begin if all other workers
/// are stalled. A block within another is a part of that one. A block that gives its worker away, by
/// `block_in_place`, is no reason any more.
///
/// It counts for each detector that watches this runtime or has a marked future on this thread;
/// without one, `block` just runs. `name` is a label value: the first 64 names have their own series.
///
/// ```
/// let config = tower_stall::allow_blocking("read config at start", || std::fs::read("/etc/hostname"));
/// # drop(config);
/// ```
pub fn allow_blocking<R>(name: &'static str, block: impl FnOnce() -> R) -> R {
    let _allowed = Allowed::begin(name);
    block()
}

/// An allowed block as each detector sees it; ended when dropped, in a panic too.
#[derive(Debug)]
pub(crate) struct Allowed(Vec<(&'static Slot, Entered)>);

impl Allowed {
    pub(crate) fn begin(name: &'static str) -> Self {
        let open = registries_here().into_iter().map(|registry| {
            let label_id = registry.allowed_blocks.count(name);
            let slot = slot(registry.id);
            (slot, slot.begin_allowed(label_id, |wake| answer(registry.id, wake), clock::now))
        });
        Self(open.collect())
    }
}

impl Drop for Allowed {
    fn drop(&mut self) {
        for (slot, entered) in self.0.drain(..).rev() {
            slot.end_allowed(entered, clock::now);
        }
    }
}
