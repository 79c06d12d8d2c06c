//! How a stack is taken where that is supported. Only this knows the system; what differs between
//! architectures lies in [`arch`].

mod arch;
#[cfg(feature = "__bench")]
pub(crate) mod bench;
mod bytes;
pub(super) mod debug_info;
mod headers;
mod images;
mod pointer_args;
mod take;
mod unwind;

pub(super) use take::Taker;

#[cfg(test)]
mod tests;
