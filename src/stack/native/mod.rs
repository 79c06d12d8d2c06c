//! Takes stacks on the platforms that support it. What differs between architectures is in [`arch`].

mod arch;
#[cfg(feature = "__bench")]
pub(crate) mod bench;
mod bytes;
mod headers;
mod images;
mod pointer_args;
mod take;
mod unwind;

pub(super) use take::Taker;

#[cfg(test)]
mod tests;
