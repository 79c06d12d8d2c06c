//! What only the operating system can tell: the home of all `unsafe` and of libc.

mod thread;

pub(crate) use thread::thread_id;
