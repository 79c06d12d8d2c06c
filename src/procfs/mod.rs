//! What `/proc` and the control groups say about this process and its threads.

pub(crate) mod cgroup;
pub(crate) mod fd;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod lines;
pub(crate) mod thread;
#[cfg(unix)]
#[allow(dead_code, reason = "used only where stacks are taken")]
pub(crate) mod thread_files;

use procfs_core::FromRead;

/// Reads a file of `/proc`; `None` if it does not exist or cannot be parsed.
fn read<T: FromRead>(path: &str) -> Option<T> {
    T::from_read(std::fs::File::open(path).ok()?).ok()
}
