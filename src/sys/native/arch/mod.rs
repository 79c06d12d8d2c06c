//! What differs between architectures. Each has a file here with the same items; one is compiled.

#[cfg_attr(target_arch = "aarch64", path = "aarch64.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64.rs")]
mod current;

pub(crate) use current::Registers;
pub(super) use current::{BREAKPOINT_LENGTH, thread_area};
