//! The handle.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;

use super::Builder;
use crate::clock;
use crate::health::{Health, HealthReport, HealthState};
use crate::labels::PollKind;
use crate::layer::StallLayer;
use crate::mark::{Mark, Watched};
use crate::owned_thread::OwnedThread;
use crate::runtime::registry::Registry;
use crate::shed::ShedLayer;
use crate::stack::Sampler;
use crate::stall::Stall;
use crate::ticker;

/// How long a drop waits for the detector's threads, in all.
const LONGEST_DROP: Duration = Duration::from_secs(1);

/// A running detector: stops when dropped.
///
/// Layers and futures made by it outlive it and do nothing more. Put it into an
/// [`Arc`](std::sync::Arc) to share it.
///
/// Dropping it waits for its threads, for a second at most: a thread that is held by a hook, a
/// subscriber or a recorder of yours is left behind, and that is logged.
#[must_use = "the detector stops when this is dropped"]
pub struct StallDetector {
    pub(super) registry: Arc<Registry>,
    pub(super) threads: Threads,
    health: Arc<HealthState>,
    tick: Duration,
    process: u32,
}

/// What runs for it.
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

impl StallDetector {
    /// Sets one up.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn new(
        registry: Arc<Registry>,
        health: Arc<HealthState>,
        threads: Threads,
        tick: Duration,
    ) -> Self {
        Self { registry, threads, health, tick, process: std::process::id() }
    }

    /// A layer for axum's `Router::layer`, tower's `ServiceBuilder` and tonic's
    /// `Server::builder().layer`.
    #[must_use]
    pub fn layer(&self) -> StallLayer {
        StallLayer::new(Arc::clone(&self.registry))
    }

    /// Names a future that no layer covers: its polls and its drop count for the handler `name`.
    ///
    /// It counts while a worker polls it. On a thread without a worker (`Handle::block_on`, a
    /// multi-thread `Runtime::block_on`, such as the body of `#[tokio::main]`) blocking holds up
    /// nobody else and does not count; see [`watched_root`](Self::watched_root).
    ///
    /// Names become labels, up to [`Builder::handlers`].
    pub fn watched<F: Future>(&self, name: &str, future: F) -> Watched<F> {
        self.mark(name, future, PollKind::Task)
    }

    /// Names a root future: it counts on a thread without a worker too.
    ///
    /// ```
    /// # async fn accept_forever() {}
    /// # async fn main_future(stall: &tower_stall::StallDetector) {
    /// stall.watched_root("main", accept_forever()).await;
    /// # }
    /// ```
    pub fn watched_root<F: Future>(&self, name: &str, future: F) -> Watched<F> {
        self.mark(name, future, PollKind::Root)
    }

    fn mark<F>(&self, name: &str, future: F, kind: PollKind) -> Watched<F> {
        let label_id = self.registry.labels.id(name, self.registry.threshold, kind);
        Watched::new(Mark { detector: self.registry.id, label_id }, future)
    }

    /// Watches a further runtime under a name (the `runtime` label).
    ///
    /// A runtime that is watched already keeps its name; one whose name is taken gets a number
    /// after it. The detector keeps no runtime alive: when the runtime ends, so does its watch.
    /// One task of ours runs on each watched runtime and shows in `num_alive_tasks`.
    pub fn watch(&self, name: &str, runtime: &Handle) {
        self.registry.add_runtime(name, runtime);
        self.arm(runtime);
    }

    /// Watches a further runtime under a name, and says whether its freezes count for the health of
    /// the process.
    pub fn watch_with(&self, name: &str, runtime: &Handle, health: Health) {
        if let Some(runtime) = self.registry.add_runtime(name, runtime) {
            runtime.status.ignore(health == Health::Ignore);
        }
        self.arm(runtime);
    }

    /// How the process does: what `/livez` and `/readyz` say, for a server of your own.
    ///
    /// Runs the checks of [`ready_when`](Self::ready_when), else it takes microseconds and blocks
    /// nobody. On a runtime that is frozen nobody asks: call it on a thread of its own.
    #[must_use]
    pub fn health(&self) -> HealthReport {
        self.health.report()
    }

    /// From now on the process is not ready, and goes on living: call it when the process is told to
    /// end, some seconds before it no longer takes connections, so that no more requests are sent.
    pub fn drain(&self) {
        self.health.drain();
    }

    /// The process is ready only while `check` says so, too: a cache that is filled, for example.
    ///
    /// It is called for each `/readyz`, on a thread of its own, and has a second to answer there. A
    /// check that panics says no. Beware of what all instances share: where a database that is down
    /// makes all of them not ready, none is left to say so.
    pub fn ready_when(&self, check: impl Fn() -> bool + Send + Sync + 'static) {
        self.health.ready_when(check);
    }

    /// A layer that turns requests away while their runtime is frozen for longer than
    /// [`Builder::shed_after`].
    #[must_use]
    pub fn shed_layer(&self) -> ShedLayer {
        ShedLayer::new(Arc::clone(&self.registry))
    }

    /// Starts the tick task here rather than at the watchdog's next scan.
    pub(super) fn arm(&self, runtime: &Handle) {
        if let Some(runtime) = self.registry.runtime(runtime) {
            ticker::arm(&self.registry, &runtime, self.tick);
        }
    }

    /// The last stalls, newest first, those in progress included.
    #[must_use]
    pub fn stalls(&self) -> Vec<Stall> {
        self.registry.store.stalls()
    }

    /// Where the admin server listens; `None` without one.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        #[cfg(feature = "admin")]
        return self.threads.admin.as_ref().map(crate::admin::Admin::address);
        #[cfg(not(feature = "admin"))]
        None
    }
}

impl Drop for StallDetector {
    fn drop(&mut self) {
        // A forked child has none of the threads, and locks as they were when it was forked.
        if self.process != std::process::id() {
            return;
        }
        self.registry.stop();
        self.threads.join(LONGEST_DROP);
    }
}

impl Threads {
    /// Tells all to end and waits, for `limit` in all.
    fn join(&mut self, limit: Duration) {
        self.stop.store(true, Ordering::Release);
        if let Some(watchdog) = &self.watchdog {
            watchdog.unpark();
        }
        let end = clock::now() + clock::nanos(limit);
        let left = || Duration::from_nanos(end.saturating_sub(clock::now()));
        let mut stuck: Vec<&'static str> = Vec::new();
        #[cfg(feature = "admin")]
        if let Some(admin) = self.admin.take() {
            stuck.extend(admin.join(left()).err());
        }
        // The others end when the watchdog, which feeds them, has.
        let threads = [self.watchdog.take(), self.reporter.take(), self.symbolizer.take()];
        for thread in threads.into_iter().flatten() {
            stuck.extend(thread.join(left()).err());
        }
        if let Some(sampler) = self.sampler.take() {
            match Arc::into_inner(sampler) {
                Some(sampler) => stuck.extend(sampler.end(left()).err()),
                // The watchdog has it, and is stuck.
                None => stuck.push("stall-capture"),
            }
        }
        if !stuck.is_empty() {
            // On a thread of its own: the subscriber may be what is stuck.
            let say = move || {
                tracing::warn!(target: "tower_stall", threads = ?stuck, "left behind: held by a hook, subscriber or recorder, or by what they wait for in the system");
            };
            drop(std::thread::Builder::new().name("stall-last-words".into()).spawn(say));
        }
    }
}

impl fmt::Debug for StallDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StallDetector")
            .field("threshold", &Duration::from_nanos(self.registry.threshold))
            .field("admin_addr", &self.admin_addr())
            .finish_non_exhaustive()
    }
}
