//! What only the operating system can tell: the home of all `unsafe` and of libc.
//!
//! What taking a stack needs lies in `native`, and nowhere else is asked whether it is there. A
//! further architecture is one file in `native/arch` and its name in the condition below, which
//! `src/stack/mod.rs` has a second time.

mod calls;
#[cfg_attr(
    not(all(feature = "capture", target_os = "linux", target_arch = "x86_64")),
    path = "unsupported.rs"
)]
pub(crate) mod native;
mod peer;
mod thread;

pub(crate) use calls::{Waits, system_call};
pub(crate) use native::{Returns, returns_are_counted};
pub(crate) use peer::peer;
pub(crate) use thread::thread_id;
