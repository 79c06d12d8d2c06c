//! What `slot.rs` knows as `crate::sync`: loom's atomics.

pub(crate) use loom::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
