//! Loom models of the protocols between threads: the real files of the crate on loom's atomics, so that
//! each order in which their loads and stores can take effect is tried.
//!
//! Each public function is one model and panics where a rule of the protocol does not hold; `tests/` runs
//! them. They are not there when this library itself is built as a test: that would bring the unit tests of
//! the files it borrows, which want real atomics.

#[cfg(not(test))]
mod clock;
#[cfg(not(test))]
#[allow(dead_code, unreachable_pub, reason = "the crate's file, of which the models use a part")]
#[path = "../../../src/runtime/heartbeat.rs"]
mod heartbeat;
#[cfg(not(test))]
mod models;
#[cfg(not(test))]
mod runtime_models;
#[cfg(not(test))]
#[allow(dead_code, unreachable_pub, reason = "the crate's file, of which the models use a part")]
#[path = "../../../src/runtime/scan_barrier.rs"]
mod scan_barrier;
#[cfg(not(test))]
#[allow(dead_code, unreachable_pub, reason = "the crate's file, of which the models use a part")]
#[path = "../../../src/slot.rs"]
mod slot;
#[cfg(not(test))]
mod sync;
#[cfg(not(test))]
#[allow(dead_code, unreachable_pub, reason = "the crate's file, of which the models use a part")]
#[path = "../../../src/runtime/wake_up.rs"]
mod wake_up;

#[cfg(not(test))]
pub use models::*;
#[cfg(not(test))]
pub use runtime_models::*;
