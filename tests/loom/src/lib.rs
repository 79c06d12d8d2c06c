//! Loom models of the slot protocol: the real `slot.rs` of the crate on loom's atomics, so that
//! each order in which its loads and stores can take effect is tried.
//!
//! Each public function is one model and panics where a rule of the protocol does not hold;
//! `tests/slot.rs` runs them. They are not there when this library itself is built as a test:
//! that would bring the unit tests of the file it borrows, which want real atomics.

#[cfg(not(test))]
mod models;
#[cfg(not(test))]
#[allow(dead_code, unreachable_pub, reason = "the crate's file, of which the models use a part")]
#[path = "../../../src/slot.rs"]
mod slot;
#[cfg(not(test))]
mod sync;

#[cfg(not(test))]
pub use models::*;
