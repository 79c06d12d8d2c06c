//! What only the operating system can tell: the home of all `unsafe` and of libc.

mod calls;
mod peer;
mod thread;

pub(crate) use calls::{Waits, system_call};
pub(crate) use peer::peer;
pub(crate) use thread::thread_id;
