//! Blocks that are meant to be there.

use crate::mark::thread_slots;

/// Runs `block` as one that is meant to block: it is no stall, whatever its length.
///
/// Only `tower_stall_allowed_total{name}` moves. The time before and after it within the same
/// poll is measured on its own. Lag and heartbeat still show what the other tasks feel.
///
/// Counts for each detector that watches this runtime or has a marked future on this thread;
/// without one, `block` simply runs. `name` is a label value (the first 64 names have series of
/// their own).
///
/// ```
/// let config = tower_stall::allow_blocking("read config at start", || std::fs::read("/etc/hostname"));
/// # drop(config);
/// ```
pub fn allow_blocking<R>(name: &'static str, block: impl FnOnce() -> R) -> R {
    thread_slots::allowed(name, block)
}
