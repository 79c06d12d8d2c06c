//! Takes stacks on the platforms that support it. What differs between architectures is in [`arch`].

mod arch;
#[cfg(feature = "__bench")]
pub(crate) mod bench;
mod bytes;
mod debug_info;
mod headers;
mod images;
mod pace;
mod pointer_args;
mod symbols;
mod take;
mod unwind;

pub(super) use symbols::Symbols;
pub(super) use take::Taker;

#[cfg(test)]
mod tests;
