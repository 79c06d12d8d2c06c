//! What is known of a worker that makes no progress.

use crate::clock::Nanos;

/// A worker that makes no progress at a scan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StillWorker {
    pub(crate) now: Nanos,
    pub(crate) thread: u32,
    /// Whether it belongs to a current-thread runtime.
    pub(crate) single: bool,
    pub(crate) threshold: Nanos,
    /// Whether the service was idle until this scan or the one before: what is asked at once then is not
    /// asked often, and what the worker does may have begun long ago.
    pub(crate) at_once: bool,
}

/// What the evidence shows about the time since the suspicion began.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weighed {
    /// The environment's share.
    pub(crate) excused: Nanos,
    /// Whether the thread has waited in one system call throughout.
    pub(crate) same_wait: bool,
}
