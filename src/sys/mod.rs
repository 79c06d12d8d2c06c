//! Calls of the operating system: the only module with `unsafe` and libc.
//!
//! `native` has what taking a stack needs. The condition below is the only one on it, besides the
//! same one in `src/stack/mod.rs`. To add an architecture, add a file to `native/arch` and its name
//! to both conditions.

#[cfg(all(test, feature = "admin"))]
pub(crate) mod allocator;
mod calls;
#[cfg(feature = "testing")]
mod file_lock;
#[cfg(feature = "admin")]
mod listener;
#[cfg_attr(
    not(all(
        feature = "capture",
        target_os = "linux",
        any(target_arch = "aarch64", target_arch = "x86_64")
    )),
    path = "unsupported.rs"
)]
pub(crate) mod native;
mod peer;
mod thread;

#[allow(unused_imports, reason = "used only where stacks are taken")]
pub(crate) use calls::futex_wait;
pub(crate) use calls::{Waits, system_call, waits_for_two};
#[cfg(feature = "testing")]
pub(crate) use file_lock::open_alone;
#[cfg(feature = "admin")]
pub(crate) use listener::defer_accept;
pub(crate) use native::{Returns, own_cpu_time, returns_are_counted};
pub(crate) use peer::peer;
pub(crate) use thread::{at_fork, thread_id};
