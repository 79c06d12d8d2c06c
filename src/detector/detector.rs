//! The handle, and the order in which a detector stops.

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
#[cfg(feature = "testing")]
use std::sync::MutexGuard;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

use super::threads::{LeftBehind, Threads};
use crate::delayed::DelayedLayer;
use crate::health::{Health, HealthReport, HealthState};
use crate::labels::PollKind;
use crate::layer::StallLayer;
use crate::mark::{Mark, Watched};
#[cfg(feature = "profile")]
use crate::profile::{ProfileWindow, StallProfile};
use crate::runtime::registry::Registry;
use crate::shed::{self, ShedLayer};
use crate::stall::Stall;
use crate::sync::lock;
use crate::ticker;

/// How long the drop of the last handle waits for the detector's threads, in all.
const LONGEST_DROP: Duration = Duration::from_secs(1);

/// A handle to a running detector.
///
/// Clones share one detector. It stops when the last clone is dropped, or at
/// [`shutdown`](Self::shutdown). Layers, watched futures and runtimes keep no detector running:
/// they outlive it and do nothing more.
///
/// # Shutdown
///
/// | step | what happens |
/// |---|---|
/// | [`drain`](Self::drain) | `/readyz` answers 503 `draining`, `/livez` still 200; requests are watched |
/// | the server's graceful shutdown | the last requests are answered and watched; the admin port answers |
/// | the runtime ends | its watch ends; the detector's own threads and the admin port go on |
/// | [`shutdown`](Self::shutdown), or the drop of the last clone | the admin port closes, then the threads end, and the last log lines and metrics go out |
///
/// Give a clone to the future that waits for the signal, and keep one until the server has ended.
/// If the future owns the only handle, the detector stops when that future ends, before the last
/// requests are answered.
///
/// ```no_run
/// use std::time::Duration;
/// # async fn terminated() {}
/// # async fn serve(
/// #     app: axum::Router,
/// #     listener: tokio::net::TcpListener,
/// # ) -> Result<(), Box<dyn std::error::Error>> {
/// let stall = tower_stall::StallDetector::builder().admin(([127, 0, 0, 1], 9099)).start()?;
/// let draining = stall.clone();
/// axum::serve(listener, app.layer(stall.layer()))
///     .with_graceful_shutdown(async move {
///         terminated().await; // SIGTERM
///         draining.drain();
///         tokio::time::sleep(Duration::from_secs(5)).await; // until no more requests are sent
///     })
///     .await?;
/// stall.shutdown(Duration::from_secs(1))?;
/// # Ok(())
/// # }
/// ```
///
/// The drop of the last clone waits for the detector's threads for at most one second. A thread
/// that is held by a hook, a subscriber or a recorder of yours is left behind, and that is logged.
/// The drop never waits for the thread it runs on, so a hook may drop the last clone. In a forked
/// child, which has none of the threads, dropping does nothing.
///
/// A clone held by a hook of [`Builder::on_stall`](crate::Builder::on_stall) or a check of
/// [`ready_when`](Self::ready_when) keeps the detector running until `shutdown`.
#[derive(Clone)]
#[must_use = "the detector stops when its last handle is dropped"]
pub struct StallDetector {
    shared: Arc<Shared>,
}

/// What all clones of a handle share. Its drop stops the detector.
struct Shared {
    registry: Arc<Registry>,
    health: Arc<HealthState>,
    tick: Duration,
    admin: Option<SocketAddr>,
    /// Locked by shutdown and by tests, for moments.
    threads: Mutex<Threads>,
    /// The process it was started in.
    process: u32,
}

impl StallDetector {
    pub(super) fn new(
        registry: Arc<Registry>,
        health: Arc<HealthState>,
        threads: Threads,
        tick: Duration,
    ) -> Self {
        #[cfg(feature = "admin")]
        let admin = threads.admin.as_ref().map(crate::admin::Admin::address);
        #[cfg(not(feature = "admin"))]
        let admin = None;
        let (threads, process) = (Mutex::new(threads), std::process::id());
        Self { shared: Arc::new(Shared { registry, health, tick, admin, threads, process }) }
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.shared.registry
    }

    /// What runs for it; nothing after a shutdown.
    #[cfg(feature = "testing")]
    pub(super) fn threads(&self) -> MutexGuard<'_, Threads> {
        lock(&self.shared.threads)
    }

    /// A layer for axum's `Router::layer`, tower's `ServiceBuilder` and tonic's
    /// `Server::builder().layer`.
    #[must_use]
    pub fn layer(&self) -> StallLayer {
        StallLayer::new(&self.shared.registry)
    }

    /// Names a future that no layer covers: its polls and its drop count for the handler `name`.
    ///
    /// It counts while a worker polls it. On a thread without a worker (`Handle::block_on`, a
    /// multi-thread `Runtime::block_on`, such as the body of `#[tokio::main]`) blocking holds up
    /// nobody else and does not count; see [`watched_root`](Self::watched_root).
    ///
    /// Names become labels, up to [`Builder::max_handlers`](crate::Builder::max_handlers).
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
        let label_id = self.registry().labels.id(name, self.registry().threshold, kind);
        let mark = Mark { detector: self.registry().id, label_id };
        Watched { future: Some(future), mark }
    }

    /// Watches a further runtime under a name (the `runtime` label).
    ///
    /// A runtime that is watched already keeps its name; one whose name is taken gets a number
    /// after it. The detector keeps no runtime alive: when the runtime ends, so does its watch.
    /// One task of ours runs on each watched runtime and shows in `num_alive_tasks`.
    ///
    /// Its freezes count for the health of the process unless [`watch_with`](Self::watch_with) said
    /// otherwise.
    pub fn watch(&self, name: &str, runtime: &Handle) {
        self.registry().add_runtime(name, runtime);
        self.arm(runtime);
    }

    /// Like [`watch`](Self::watch), and says whether the runtime's freezes count for the health of
    /// the process.
    pub fn watch_with(&self, name: &str, runtime: &Handle, health: Health) {
        if let Some(runtime) = self.registry().add_runtime(name, runtime) {
            runtime.status.ignored.store(health == Health::Ignore, Relaxed);
        }
        self.arm(runtime);
    }

    /// The health of the process, as `/livez` and `/readyz` report it, for a server of your own.
    ///
    /// Runs the checks of [`ready_when`](Self::ready_when); without checks it takes microseconds. A
    /// frozen runtime cannot serve the answer: call it on a thread outside the runtime.
    #[must_use]
    pub fn health(&self) -> HealthReport {
        self.shared.health.report()
    }

    /// Makes the process not ready for good; it stays live.
    ///
    /// Call it when the process is told to end, some seconds before the server stops accepting
    /// connections: a load balancer needs that time to stop sending requests.
    pub fn drain(&self) {
        self.shared.health.drain();
    }

    /// Adds a readiness check: the process is ready only while `check` returns `true`. A filled
    /// cache is an example.
    ///
    /// `/readyz` calls it on a thread of its own, once at a time: whoever asks meanwhile gets the answer of
    /// the call in progress, and waits for it for one second. A check that panics counts as `false`. Do not
    /// check what all instances share: a database that is down would take all of them out of rotation.
    pub fn ready_when(&self, check: impl Fn() -> bool + Send + Sync + 'static) {
        self.shared.health.ready_when(check);
    }

    /// A layer that turns requests away while their runtime has been frozen for longer than
    /// [`Builder::shed_after`](crate::Builder::shed_after).
    #[must_use]
    pub fn shed_layer(&self) -> ShedLayer {
        ShedLayer::new(Arc::clone(&self.shared.registry))
    }

    /// A layer that tells requests, in their own spans, which stalls they were in flight with.
    #[must_use]
    pub fn delayed_layer(&self) -> DelayedLayer {
        DelayedLayer::new(Arc::clone(&self.shared.registry))
    }

    /// Whether the runtime of the calling thread has been frozen for longer than
    /// [`Builder::shed_after`](crate::Builder::shed_after): what the [`shed_layer`](Self::shed_layer) goes
    /// by, for work that is no request. On a thread without a runtime: whether one of the watched runtimes
    /// has been.
    ///
    /// It reads a flag that the watchdog sets and the first tick in time resets.
    ///
    /// ```
    /// # struct Queue;
    /// # impl Queue { async fn next(&self) {} }
    /// # async fn consume(queue: Queue, stall: tower_stall::StallDetector) {
    /// # for _ in 0..1 {
    /// if stall.is_frozen() {
    ///     tokio::time::sleep(std::time::Duration::from_millis(100)).await; // leave the job to another instance
    /// } else {
    ///     queue.next().await;
    /// }
    /// # }
    /// # }
    /// ```
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        match Handle::try_current() {
            Ok(_) => shed::sheds(self.registry()),
            Err(_) => self.registry().runtimes().iter().any(|runtime| runtime.status.sheds()),
        }
    }

    /// Starts the tick task here rather than at the watchdog's next scan.
    pub(super) fn arm(&self, runtime: &Handle) {
        if let Some(runtime) = self.registry().runtime(runtime) {
            ticker::start(&self.shared.registry, &runtime, self.shared.tick);
        }
    }

    /// The last stalls, newest first, those in progress included.
    #[must_use]
    pub fn stalls(&self) -> Vec<Stall> {
        self.registry().store.stalls()
    }

    /// The stalls of handlers by stack since the start, for tools that show profiles.
    ///
    /// It holds the lock of the store for some microseconds. With
    /// [`Builder::admin`](crate::Builder::admin) the same is on the admin port.
    #[cfg(feature = "profile")]
    #[must_use]
    pub fn profile(&self) -> StallProfile {
        StallProfile::since_start(self.registry())
    }

    /// Begins to sum up stalls by stack from now on, for code that pushes a profile now and then.
    #[cfg(feature = "profile")]
    pub fn profile_window(&self) -> ProfileWindow {
        ProfileWindow::open(&self.shared.registry)
    }

    /// Where the admin server listens, also after a shutdown; `None` without one.
    #[must_use]
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.shared.admin
    }

    /// Stops the detector for all clones, and waits for its threads for at most `limit` in all.
    ///
    /// The admin port closes first; then the last log lines and metrics go out. What is marked is no
    /// longer watched, and [`stalls`](Self::stalls) keeps what was found. Stacks that still wait for
    /// their lines get half a second of CPU time for them. A further call, and the
    /// drops of the clones, have nothing left to stop. In a forked child it does nothing.
    ///
    /// It blocks its thread: call it where the service has ended, not on a busy worker. It does not
    /// wait for the thread it is called on, so a hook may call it.
    ///
    /// # Errors
    ///
    /// [`LeftBehind`] names the threads that had not ended within `limit`.
    pub fn shutdown(&self, limit: Duration) -> Result<(), LeftBehind> {
        self.shared.stop(limit)
    }

    /// Does at once what the drop of the last clone does.
    #[cfg(feature = "testing")]
    pub(crate) fn stop(&self) {
        self.shared.stop_or_log();
    }
}

impl Shared {
    fn stop(&self, limit: Duration) -> Result<(), LeftBehind> {
        // A forked child has none of the threads, and locks as they were when it was forked.
        if self.process != std::process::id() {
            return Ok(());
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        self.registry.stop();
        threads.join(limit)
    }

    fn stop_or_log(&self) {
        if let Err(left_behind) = self.stop(LONGEST_DROP) {
            left_behind.log();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.stop_or_log();
    }
}

impl fmt::Debug for StallDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StallDetector")
            .field("threshold", &Duration::from_nanos(self.registry().threshold))
            .field("admin_addr", &self.admin_addr())
            .finish_non_exhaustive()
    }
}
