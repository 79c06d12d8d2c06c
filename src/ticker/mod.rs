//! The tasks of a detector on the runtimes it watches: one tick task each, and short ones now and
//! then.
//!
//! The tick task counts in `num_alive_tasks`. It is dropped with the runtime, which shows that the
//! runtime has ended. On a runtime that the user named it uses the runtime's own timers, as the tasks of
//! the service do. Elsewhere, and without timers, the watchdog wakes it for each tick.

mod tasks;
mod tick;
mod timers;

pub(crate) use tasks::{map_idle_workers, map_workers, ping, wait_for_map};
pub(crate) use tick::start;
