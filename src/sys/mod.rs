//! What only the operating system can tell: the home of all `unsafe` and of libc.

mod calls;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod memory;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod modules;
mod peer;
mod returns;
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod signal;
mod thread;

#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
pub(crate) use calls::{Given, given};
pub(crate) use calls::{Waits, system_call};
pub(crate) use peer::peer;
pub(crate) use returns::{Returns, returns_are_counted};
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
pub(crate) use thread::cpu_time;
pub(crate) use thread::thread_id;

#[cfg(all(test, feature = "capture", target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod testing;
