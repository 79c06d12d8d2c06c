//! What `/proc` and the control groups say about this process and its threads.

pub(crate) mod cgroup;
pub(crate) mod fd;
mod lines;
pub(crate) mod thread;
#[cfg(unix)]
#[allow(dead_code, reason = "kept open only where stacks are taken")]
pub(crate) mod thread_files;

use procfs_core::FromRead;

/// Reads one file of `/proc`; `None` where it is not there or not as expected.
fn read<T: FromRead>(path: &str) -> Option<T> {
    T::from_read(std::fs::File::open(path).ok()?).ok()
}
