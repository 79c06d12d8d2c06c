//! Takes stacks on the platforms that support it. What differs between architectures is in [`arch`].

mod arch;
#[cfg(feature = "__bench")]
pub(crate) mod bench;
mod bridge;
mod bytes;
#[cfg_attr(not(target_arch = "x86_64"), path = "no_cleanup.rs")]
mod cleanup;
mod debug_info;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
#[cfg(fuzzing)]
mod fuzz_input;
mod headers;
mod holder;
mod images;
mod leaf;
mod names;
mod pace;
mod pointer_args;
mod pool;
mod still;
mod take;
mod unwind;
mod wanted;

pub(super) use debug_info::functions_at;
pub(super) use names::Names;
pub(super) use take::Taker;

#[cfg(test)]
mod tests;
