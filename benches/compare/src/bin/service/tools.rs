//! How each tool is put into the service: as its documentation says, with its defaults where it does not ask
//! for a choice, and with the same threshold where it has one.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::routing::MethodRouter;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tokio_metrics::{RuntimeMonitor, TaskMonitor};
use tower_stall::{RuntimeBuilderExt, RuntimeHooks, StallDetector};
use tower_stall_compare::THRESHOLD_MS;

use crate::monitored::MonitoredLayer;

const THRESHOLD: Duration = Duration::from_millis(THRESHOLD_MS);
/// Between two reports of tokio-metrics, as in its documentation.
const INTERVAL: Duration = Duration::from_millis(500);

/// A runtime, and what the tool puts around the service.
pub(crate) struct Watched {
    pub(crate) runtime: Runtime,
    pub(crate) around_handler: Box<dyn Fn(&'static str, MethodRouter) -> MethodRouter>,
    pub(crate) around: Box<dyn FnOnce(Router) -> Router>,
    /// What is to do at the end, with what has to live so long.
    pub(crate) end: Box<dyn FnOnce()>,
}

impl Watched {
    fn bare(runtime: Runtime) -> Self {
        Self {
            runtime,
            around_handler: Box::new(|_, handler| handler),
            around: Box::new(|app| app),
            end: Box::new(|| ()),
        }
    }
}

pub(crate) fn start(tool: &str, workers: usize, folder: PathBuf) -> Watched {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all();
    let build = |mut builder: Builder| builder.build().expect("a runtime");
    match tool {
        "bare" => {
            log();
            Watched::bare(build(builder))
        }
        "stall" => {
            log();
            stall(build(builder))
        }
        "hooks" => {
            log();
            builder.stall_hooks(RuntimeHooks::new());
            stall(build(builder))
        }
        "metrics" => {
            log();
            metrics(build(builder))
        }
        #[cfg(feature = "unstable")]
        "console" => {
            console();
            Watched::bare(build(builder))
        }
        #[cfg(feature = "unstable")]
        "blocked" => {
            blocked();
            Watched::bare(build(builder))
        }
        #[cfg(feature = "dial9")]
        "dial9" | "dial9-events" => {
            log();
            dial9(builder, folder, tool == "dial9")
        }
        other => panic!("no tool {other:?} in this build, for {}", folder.display()),
    }
}

/// Warnings, and what tower-stall says, as JSON.
fn log() {
    let filter = tracing_subscriber::EnvFilter::new("warn,tower_stall=info");
    tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr).init();
}

fn stall(runtime: Runtime) -> Watched {
    let detector = {
        let _inside = runtime.enter();
        StallDetector::builder().threshold(THRESHOLD).start().expect("the detector starts")
    };
    let layer = detector.layer();
    let mut watched = Watched::bare(runtime);
    watched.around = Box::new(|app| app.layer(layer));
    watched.end = Box::new(|| drop(detector));
    watched
}

/// A monitor for each route and one for the runtime. They are read on a thread of its own, so that what they
/// say does not depend on a worker that is free.
fn metrics(runtime: Runtime) -> Watched {
    let (add, monitors) = std::sync::mpsc::channel::<(&'static str, TaskMonitor)>();
    let runtime_monitor = RuntimeMonitor::new(runtime.handle());
    std::thread::spawn(move || {
        let mut of_runtime = runtime_monitor.intervals();
        let mut of_tasks = Vec::new();
        loop {
            for (route, monitor) in monitors.try_iter() {
                of_tasks.push((route, monitor.intervals()));
            }
            std::thread::sleep(INTERVAL);
            if let Some(interval) = of_runtime.next() {
                let line = json!({
                    "monitor": "runtime",
                    "elapsed_ms": interval.elapsed.as_millis() as u64,
                    "busy_ratio": interval.busy_ratio(),
                    "max_busy_ms": interval.max_busy_duration.as_millis() as u64,
                });
                eprintln!("{line}");
            }
            for (route, intervals) in &mut of_tasks {
                let Some(interval) = intervals.next() else { continue };
                let line = json!({
                    "monitor": route,
                    "slow_polls": interval.total_slow_poll_count,
                    "mean_slow_poll_ms": interval.mean_slow_poll_duration().as_millis() as u64,
                });
                eprintln!("{line}");
            }
        }
    });
    let mut watched = Watched::bare(runtime);
    watched.around_handler = Box::new(move |route, handler| {
        let monitor = TaskMonitor::with_slow_poll_threshold(THRESHOLD);
        add.send((route, monitor.clone())).expect("the thread runs");
        handler.layer(MonitoredLayer(monitor))
    });
    watched
}

/// Its server, on a free port.
#[cfg(feature = "unstable")]
fn console() {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    console_subscriber::ConsoleLayer::builder().server_addr(address).init();
    println!("console on http://{address}");
}

#[cfg(feature = "unstable")]
fn blocked() {
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;

    let log = tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr);
    let blocked =
        tokio_blocked::TokioBlockedLayer::new().with_warn_busy_single_poll(Some(THRESHOLD));
    tracing_subscriber::registry()
        .with(log.with_filter(tracing_subscriber::EnvFilter::new("warn")))
        .with(blocked)
        .init();
}

/// Events of Tokio, with samples of the CPU and of what goes off it if `profiles`. Segments are closed once a
/// second instead of once a minute, so that they can be read as soon as possible.
#[cfg(feature = "dial9")]
fn dial9(builder: Builder, folder: PathBuf, profiles: bool) -> Watched {
    use dial9::{Dial9HandleTokioExt, DiskBuffer, RecorderPerfExt, TokioAttachOptions};

    let buffer = DiskBuffer::builder()
        .base_path(folder)
        .max_total_size(100 << 20)
        .rotation_period(Duration::from_secs(1))
        .build()
        .expect("a folder to write to");
    let mut recorder = dial9::recorder(buffer);
    if profiles {
        recorder =
            recorder.with_cpu_profiling(Default::default()).with_sched_events(Default::default());
    }
    let recorder = recorder.build();
    let options = TokioAttachOptions::builder().task_tracking_enabled(true).build();
    let runtime = recorder.handle().attach_tokio_runtime(builder, options).expect("a runtime");
    let mut watched = Watched::bare(runtime);
    watched.end = Box::new(|| {
        // It is drained as far as it gets in this time.
        recorder.graceful_shutdown(Duration::from_secs(60));
    });
    watched
}
