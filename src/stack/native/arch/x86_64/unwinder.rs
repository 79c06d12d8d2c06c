//! The unwinder of framehop for this architecture.

pub(super) use framehop::x86_64::{CacheX86_64 as Cache, UnwinderX86_64 as Unwinds};
