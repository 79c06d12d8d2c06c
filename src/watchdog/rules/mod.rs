//! The rules, as pure functions of what was seen and the time: one slot, one runtime's heartbeat,
//! what its freezes mean, what of that was for want of a CPU, when it needs a nudge.

pub(super) mod cpu_wait;
pub(super) mod freeze;
pub(crate) mod health;
pub(super) mod poll;
pub(super) mod rescue;
