//! The probe: one task on each watched runtime, which ticks, and whose end is the runtime's.
//!
//! The task shows in `num_alive_tasks`. It ticks by the runtime's own timers, because those are
//! what the tasks of the service feel; a runtime without timers has the task all the same, since
//! it is dropped with the runtime and so tells that the runtime is gone.

mod ping;
mod tick;
mod timers;
mod worker_map;

pub(crate) use ping::ask;
pub(crate) use tick::arm;
pub(crate) use worker_map::map_workers;
