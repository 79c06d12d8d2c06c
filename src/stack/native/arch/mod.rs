//! What differs between architectures. Each is a folder here with the same files and one type that
//! implements [`Arch`]; one is compiled.

mod contract;
#[cfg_attr(target_arch = "aarch64", path = "aarch64/mod.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64/mod.rs")]
mod current;

pub(super) use contract::{
    Arch, Frame, Registers, Target, UNKNOWN_FP, UNKNOWN_LR, UnwindModule, UnwindRegs,
    UnwindSections,
};
pub(super) use current::Native;
