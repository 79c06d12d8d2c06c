//! tokio-metrics and the detector on the same runtime and tasks, by one recorder of the user's.
//!
//! The recorder is the process's own: this is one test in a process of its own.

#[path = "../../support/recorder.rs"]
mod recorder;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::{Request, Response};
use recorder::{nothing_twice, recorder};
use tokio_metrics::{RuntimeMetricsReporterBuilder, TaskMetricsReporterBuilder, TaskMonitor};
use tower::{Layer, ServiceExt};
use tower_stall::{METRICS, MetricKind, Stall, StallDetector};

const LIMIT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_millis(300);
/// Who blocks: a request in the layer, a watched future in a monitored one, and the other way.
const HANDLERS: [&str; 3] = ["GET /report", "inside", "outside"];

#[track_caller]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Blocks the thread until the detector shows it for that handler.
fn block(stall: &StallDetector, handler: &str) {
    let is_it = |stall: &Stall| stall.handler == handler && stall.duration >= LONG;
    let start = Instant::now();
    while !stall.stalls().iter().any(is_it) && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// The value of a series.
fn value(page: &str, series: &str) -> Option<f64> {
    let value = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(value.parse().expect("a number"))
}

/// The sum of the series with that name and handler.
fn of_handler(page: &str, name: &str, handler: &str) -> f64 {
    let label = format!("handler=\"{handler}\"");
    let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(&label));
    lines
        .map(|line| line.rsplit_once(' ').expect("a value").1.parse::<f64>().expect("a number"))
        .sum()
}

#[test]
fn they_run_together() {
    let recorder = recorder();
    let page = recorder.handle();
    metrics::set_global_recorder(recorder).expect("it is the first");
    let names = Arc::new(Mutex::new(BTreeSet::new()));
    let told = || {
        let names = Arc::clone(&names);
        move |name: &'static str| {
            names.lock().expect("nobody panics with it").insert(name);
            metrics::Key::from_static_name(name)
        }
    };

    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let stall = Arc::new(StallDetector::builder().facade(true).start().expect("a detector"));
    let of_runtime = RuntimeMetricsReporterBuilder::default()
        .with_metrics_transformer(told())
        .with_interval(Duration::from_millis(100))
        .describe();
    runtime.spawn(of_runtime.build().run());
    let mut monitor = TaskMonitor::builder();
    monitor.with_slow_poll_threshold(Duration::from_millis(100));
    let monitor = monitor.build();
    let of_tasks = TaskMetricsReporterBuilder::new(told()).describe();
    let mut of_tasks = of_tasks.build_with_monitor(monitor.clone());

    let [requested, inside, outside] = HANDLERS.map(|handler| {
        let stall = Arc::clone(&stall);
        async move { block(&stall, handler) }
    });
    let layer = stall.layer().handler_name(|_| Some(HANDLERS[0].into()));
    let requested = Mutex::new(Some(requested));
    let service = layer.layer(tower::service_fn(move |_: Request<()>| {
        let requested = requested.lock().expect("nobody panics with it").take();
        async move {
            requested.expect("one request").await;
            Ok::<_, Infallible>(Response::new(()))
        }
    }));
    runtime.block_on(async {
        let request = monitor.instrument(service.oneshot(Request::new(())));
        tokio::spawn(request).await.expect("no panic").expect("an answer");
        let watched = monitor.instrument(stall.watched(HANDLERS[1], inside));
        tokio::spawn(watched).await.expect("no panic");
        let monitored = stall.watched(HANDLERS[2], monitor.instrument(outside));
        tokio::spawn(monitored).await.expect("no panic");
    });

    // It tells of the time since it last did: once is all of it.
    of_tasks.run_once();
    wait_until(|| {
        let page = page.render();
        let is_counted = |handler| of_handler(&page, "tokio_stalls_total", handler) >= 1.0;
        HANDLERS.into_iter().all(is_counted)
            && value(&page, "tokio_stall_duration_seconds_count{runtime=\"main\"}") >= Some(3.0)
            && value(&page, "tokio_workers{runtime=\"main\"}") == Some(2.0)
            && value(&page, "tokio_total_busy_duration") >= Some(900_000.0)
    });
    let page = page.render();
    for handler in HANDLERS {
        assert_eq!(of_handler(&page, "tokio_stalls_total", handler), 1.0, "{handler}");
    }
    assert_eq!(value(&page, "tokio_workers_count"), Some(2.0));
    assert!(value(&page, "tokio_live_tasks_count") >= Some(1.0));
    for count in ["instrumented", "dropped", "first_poll", "total_slow_poll", "total_poll"] {
        assert_eq!(value(&page, &format!("tokio_{count}_count")), Some(3.0), "{count}");
    }
    assert!(value(&page, "tokio_total_slow_poll_duration") >= Some(900_000.0));
    nothing_twice(&page);

    let names = names.lock().expect("nobody panics with it");
    assert!(names.len() > 30, "{names:?}");
    // Theirs begin as ours do.
    assert!(names.iter().all(|name| name.starts_with("tokio_")), "{names:?}");
    for ours in METRICS {
        assert!(!names.contains(ours.name), "{}", ours.name);
        // Nor is one of theirs a part of a histogram of ours.
        let parts = ["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", ours.name));
        let is_free = |part: &String| !names.contains(&**part);
        assert!(ours.kind != MetricKind::Histogram || parts.iter().all(is_free), "{}", ours.name);
    }
}
