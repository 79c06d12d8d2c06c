//! The threads of a detector, and their end.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock;
use crate::owned_thread::OwnedThread;
use crate::stack::Sampler;

/// Threads that did not end in time and were left behind.
///
/// Each is held by a hook, a subscriber or a recorder of yours, or waits for the operating system.
/// It ends when what holds it returns, or with the process.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("left behind: {}", .threads.join(", "))]
#[non_exhaustive]
pub struct LeftBehind {
    /// The names of the threads, such as `stall-reporter`.
    pub threads: Vec<Cow<'static, str>>,
}

/// The running threads of a detector.
#[derive(Debug, Default)]
pub(super) struct Threads {
    pub(super) stop: Arc<AtomicBool>,
    pub(super) watchdog: Option<OwnedThread>,
    pub(super) reporter: Option<OwnedThread>,
    pub(super) symbolizer: Option<OwnedThread>,
    /// Shared with the watchdog.
    pub(super) sampler: Option<Arc<Sampler>>,
    #[cfg(feature = "admin")]
    pub(super) admin: Option<crate::admin::Admin>,
}

impl Threads {
    /// Tells all threads to end and waits for them, for `limit` in all.
    pub(super) fn join(mut self, limit: Duration) -> Result<(), LeftBehind> {
        self.stop.store(true, Ordering::Release);
        if let Some(watchdog) = &self.watchdog {
            watchdog.unpark();
        }
        let end = clock::now().saturating_add(clock::nanos(limit));
        let left = || Duration::from_nanos(end.saturating_sub(clock::now()));
        let mut threads: Vec<Cow<'static, str>> = Vec::new();
        #[cfg(feature = "admin")]
        if let Some(admin) = self.admin.take() {
            threads.extend(admin.join(left()).err().map(Cow::Borrowed));
        }
        // The others end when the watchdog, which feeds them, has.
        let fed = [self.watchdog.take(), self.reporter.take(), self.symbolizer.take()];
        for thread in fed.into_iter().flatten() {
            threads.extend(thread.join(left()).err().map(Cow::Borrowed));
        }
        if let Some(sampler) = self.sampler.take() {
            match Arc::into_inner(sampler) {
                Some(sampler) => threads.extend(sampler.end(left()).err().map(Cow::Borrowed)),
                // The watchdog has it, and is stuck.
                None => threads.push("stall-capture".into()),
            }
        }
        if threads.is_empty() { Ok(()) } else { Err(LeftBehind { threads }) }
    }
}

impl LeftBehind {
    /// Logs it, on a thread of its own: the subscriber may be what is stuck.
    pub(super) fn log(self) {
        let say = move || {
            tracing::warn!(target: "tower_stall", threads = ?self.threads, "left behind: held by a hook, subscriber or recorder, or by what they wait for in the system");
        };
        drop(std::thread::Builder::new().name("stall-last-words".into()).spawn(say));
    }
}
