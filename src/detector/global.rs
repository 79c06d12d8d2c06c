//! The process-wide detector.

use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use tokio::runtime::Handle;

use super::detector::StallDetector;
use super::start::{launch, registry};
use crate::config::BuildError;
use crate::config::Settings;
use crate::layer::StallLayer;
use crate::runtime::registry::Registry;
use crate::sync::lock;

static GLOBAL: LazyLock<Global> = LazyLock::new(Global::new);

struct Global {
    registry: Arc<Registry>,
    /// Taken by the start.
    settings: Mutex<Option<Settings>>,
    detector: OnceLock<StallDetector>,
}

/// A layer of the process-wide detector, for a first look in one line.
///
/// The detector has the defaults and the settings of the environment (`TOWER_STALL_ADMIN` for an
/// admin server, for example). It is started when this is first called inside a runtime, or else
/// when a request first comes, and runs to the end of the process. Runtimes on which requests
/// show up later are watched too. A failure to start is logged, never returned: the layer then
/// does nothing.
///
/// ```
/// # fn app() -> axum::Router {
/// axum::Router::new()
///     .route("/hello", axum::routing::get(|| async { "hello" }))
///     .layer(tower_stall::layer())
/// # }
/// ```
#[must_use]
pub fn layer() -> StallLayer {
    StallLayer::new(&Global::here().registry)
}

/// The process-wide detector, the one of [`layer()`]: for its health, its stalls, or a drain.
///
/// Inside a runtime it is started if it is not running yet, as `layer()` does. The process keeps a
/// handle of its own, so only [`StallDetector::shutdown`] stops it, and it is not started again.
///
/// Returns `None` before the start when called outside of a runtime, while another thread is
/// starting it, and after a start that failed, which is logged.
///
/// ```
/// # async fn terminated() {}
/// # async fn shutdown() {
/// terminated().await; // SIGTERM
/// if let Some(stall) = tower_stall::detector() {
///     stall.drain();
/// }
/// # }
/// ```
#[must_use]
pub fn detector() -> Option<StallDetector> {
    Global::here().detector.get().cloned()
}

/// Starts it if this is inside a runtime. Called by the registry too, in one it has not met.
fn runtime_appeared() {
    if let Ok(runtime) = Handle::try_current() {
        GLOBAL.start(&runtime);
    }
}

impl Global {
    /// The one of this process, started if this is inside a runtime.
    fn here() -> &'static Self {
        runtime_appeared();
        &GLOBAL
    }

    fn new() -> Self {
        let mut settings = Settings::default();
        if let Err(error) = settings.apply_environment() {
            failed(&error);
            settings = Settings { on: false, ..Settings::default() };
        }
        let registry = registry(&settings, Some(runtime_appeared));
        Self { registry, settings: Mutex::new(Some(settings)), detector: OnceLock::new() }
    }

    fn start(&self, runtime: &Handle) {
        let Some(settings) = lock(&self.settings).take() else { return };
        match launch(Arc::clone(&self.registry), settings, Some(runtime.clone())) {
            Ok(detector) => drop(self.detector.set(detector)),
            Err(error) => failed(&error),
        }
    }
}

fn failed(error: &BuildError) {
    tracing::error!(target: "tower_stall", %error, "the process-wide detector did not start");
}
