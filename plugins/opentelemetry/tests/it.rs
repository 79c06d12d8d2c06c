//! What an SDK gets of real stalls. `examples/otel` has the tests with a receiver of OTLP.

#[path = "../../../tests/support/waiting.rs"]
mod waiting;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use axum::{Extension, Router};
use metrics::Recorder;
use metrics_util::layers::FanoutBuilder;
use opentelemetry::trace::{
    FutureExt, Span, SpanContext, SpanId, Status, TraceContextExt, TraceId, Tracer, TracerProvider,
};
use opentelemetry::{Context, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData, SpanExporter};
use tower::ServiceExt;
use tower_http::trace::TraceLayer;
use tower_stall::{Stall, StallDetector};
use tower_stall_opentelemetry::{METRICS, StallMetrics, StallSpans, trace_id};
use tracing_subscriber::layer::SubscriberExt;
use waiting::{LIMIT, wait_for};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

async fn blocking() {
    thread::sleep(Duration::from_millis(300)); // blocks the worker
}

fn request(traceparent: Option<&str>) -> Request<Body> {
    let request = Request::get("/blocking");
    let request = match traceparent {
        Some(traceparent) => request.header("traceparent", traceparent),
        None => request,
    };
    request.body(Body::empty()).expect("a request")
}

/// Spans that are sent at once, to memory.
struct Spans {
    provider: SdkTracerProvider,
    exporter: InMemorySpanExporter,
}

impl Spans {
    fn new() -> Self {
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        Self { provider, exporter }
    }

    fn detector(&self) -> StallDetector {
        StallDetector::builder()
            .on_stall(StallSpans::new(&self.provider))
            .start()
            .expect("settings")
    }

    /// Those of stalls.
    fn stalls(&self) -> Vec<SpanData> {
        let mut spans = self.exporter.get_finished_spans().expect("spans");
        spans.retain(|span| span.name.starts_with("stall GET /blocking"));
        spans
    }

    fn span(&self, context: &SpanContext) -> SpanData {
        let spans = || self.exporter.get_finished_spans().expect("spans");
        let is = |span: &SpanData| span.span_context.span_id() == context.span_id();
        wait_for(|| spans().into_iter().find(is))
    }

    /// Sends requests until one of them is a stall that is wanted: on a machine that is busy enough the watchdog
    /// misses one, and the first stack of a process comes late.
    async fn stall(&self, send: impl AsyncFn(), wanted: impl Fn(&SpanData) -> bool) -> SpanData {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            send().await;
            let due = Instant::now() + Duration::from_secs(2);
            while Instant::now() < due {
                if let Some(found) = self.stalls().into_iter().find(&wanted) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        panic!("no such stall: {:#?}", self.stalls());
    }
}

fn attributes(span: &SpanData) -> BTreeMap<String, Value> {
    let pair = |pair: &opentelemetry::KeyValue| (pair.key.to_string(), pair.value.clone());
    span.attributes.iter().map(pair).collect()
}

/// On a worker, as servers do.
async fn send(app: &Router, request: Request<Body>) {
    let answer = tokio::spawn(app.clone().oneshot(request).with_current_context());
    assert!(answer.await.expect("no panic").expect("an answer").status().is_success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_a_span_below_the_current_one_with_its_place_by_the_conventions() {
    let spans = Spans::new();
    let stall = spans.detector();
    let app =
        Router::new().route("/blocking", get(blocking)).layer(stall.layer().trace_id(trace_id));
    let tracer = spans.provider.tracer("service");
    let root = tracer.start("the request");
    let request_span = root.span_context().clone();
    let context = Context::new().with_span(root);

    let traced = async || send(&app, request(None)).with_context(context.clone()).await;
    let with_stack = |span: &SpanData| attributes(span).contains_key("code.stacktrace");
    let span = spans.stall(traced, with_stack).await;
    assert_eq!(span.name, "stall GET /blocking (sleep)");
    assert_eq!(span.span_context.trace_id(), request_span.trace_id());
    assert_eq!(span.parent_span_id, request_span.span_id());
    assert!(!span.parent_span_is_remote);
    assert!(matches!(&span.status, Status::Error { description } if description.contains("sleep")));
    assert_eq!(span.instrumentation_scope.name(), "tower_stall");
    let took = span.end_time.duration_since(span.start_time).expect("in order");
    assert!(took >= Duration::from_millis(100) && took < LIMIT, "{took:?}");

    let found = attributes(&span);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/blocking"),
        ("error.type", "sleep"),
        ("code.function.name", "it::blocking"),
        ("tower_stall.handler", "GET /blocking"),
        ("tower_stall.cause", "sleep"),
        ("tower_stall.runtime", "main"),
        ("tower_stall.fix", "use tokio::time::sleep(..).await"),
    ] {
        assert_eq!(found.get(name), Some(&Value::from(value)), "{name} of {found:#?}");
    }
    let text = |name: &str| found[name].as_str().into_owned();
    assert!(text("code.file.path").ends_with("tests/it.rs"), "{found:#?}");
    let source = include_str!("it.rs");
    let line = source.lines().position(|line| line.contains("// blocks the worker"));
    let line = Value::I64(line.expect("it is there") as i64 + 1);
    assert_eq!(found["code.line.number"], line);
    assert!(text("code.stacktrace").contains("it::blocking"), "{found:#?}");
    assert!(text("thread.name").starts_with("tokio-"), "{found:#?}");
    assert!(matches!(found["thread.id"], Value::I64(1..)), "{found:#?}");
    assert!(!found.contains_key("tower_stall.parent_guessed"), "{found:#?}");
    drop(context);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_of_tracing_opentelemetry_are_parents() {
    let spans = Spans::new();
    let stall = spans.detector();
    let layer = tracing_opentelemetry::layer().with_tracer(spans.provider.tracer("service"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let made = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&made);
    let seen = move |head: tower_stall::layer::RequestHead<'_>| {
        let context = Context::current().span().span_context().clone();
        keep.lock().expect("no panic").push(context);
        trace_id(head)
    };
    let app =
        Router::new().route("/blocking", get(blocking)).layer(stall.layer().trace_id(seen)).layer(
            TraceLayer::new_for_http()
                .make_span_with(|_: &Request<Body>| tracing::info_span!("request")),
        );
    let dispatch = tracing::Dispatch::new(subscriber);
    let traced = async || {
        let call = app.clone().oneshot(request(None));
        let answer = tokio::spawn(tracing::instrument::WithSubscriber::with_subscriber(
            call,
            dispatch.clone(),
        ));
        assert!(answer.await.expect("no panic").expect("an answer").status().is_success());
    };
    let span = spans.stall(traced, |_| true).await;
    let parents = made.lock().expect("no panic").clone();
    let is = |parent: &&SpanContext| parent.span_id() == span.parent_span_id;
    let parent = parents.iter().find(is).expect("the span of a request");
    assert_eq!(span.span_context.trace_id(), parent.trace_id());
    assert_eq!(spans.span(parent).name, "request");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_caller_is_the_parent_where_the_service_has_no_spans() {
    let spans = Spans::new();
    let stall = spans.detector();
    let app =
        Router::new().route("/blocking", get(blocking)).layer(stall.layer().trace_id(trace_id));
    let traceparent = format!("00-{TRACE}-{CALLER}-00");
    let span = spans.stall(async || send(&app, request(Some(&traceparent))).await, |_| true).await;
    assert_eq!(span.span_context.trace_id(), TraceId::from_hex(TRACE).expect("hexadecimal"));
    assert_eq!(span.parent_span_id, SpanId::from_hex(CALLER).expect("hexadecimal"));
    assert!(span.parent_span_is_remote);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_function_a_stall_is_in_its_trace_and_without_a_trace_it_has_its_own() {
    let spans = Spans::new();
    let stall = spans.detector();
    let app = Router::new().route("/blocking", get(blocking)).layer(stall.layer());
    let trace = TraceId::from_hex("4bf92f3577b34da6a3ce929d0e0e4736").expect("hexadecimal");
    let traceparent = format!("00-{trace}-{CALLER}-01");
    let of_trace = |span: &SpanData| span.span_context.trace_id() == trace;
    let span = spans.stall(async || send(&app, request(Some(&traceparent))).await, of_trace).await;
    assert_ne!(span.parent_span_id, SpanId::from_hex(CALLER).expect("hexadecimal"));
    let is_root = |span: &SpanData| span.parent_span_id == SpanId::INVALID;
    spans.stall(async || send(&app, request(None)).await, is_root).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_that_is_not_sampled_has_a_span_unless_it_is_not_wanted() {
    let (all, sampled) = (Spans::new(), Spans::new());
    let ended = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&ended);
    let stall = StallDetector::builder()
        .on_stall(StallSpans::new(&sampled.provider).only_sampled(true))
        .on_stall(StallSpans::new(&all.provider))
        .on_stall(move |stall: &Stall| {
            count.fetch_add(u64::from(!stall.in_progress), Relaxed);
        })
        .start()
        .expect("settings");
    let app =
        Router::new().route("/blocking", get(blocking)).layer(stall.layer().trace_id(trace_id));
    let of = |flags: &str| {
        format!(
            "00-{:032x}-{CALLER}-{flags}",
            u128::from_str_radix(TRACE, 16).expect("hexadecimal") + 1
        )
    };
    let not_sampled = of("00");
    all.stall(async || send(&app, request(Some(&not_sampled))).await, |_| true).await;
    wait_for(|| (ended.load(Relaxed) > 0).then_some(()));
    assert_eq!(sampled.stalls().len(), 0);
    let is_sampled = of("01");
    sampled.stall(async || send(&app, request(Some(&is_sampled))).await, |_| true).await;
}

/// An exporter that panics.
#[derive(Debug)]
struct Broken;

impl SpanExporter for Broken {
    async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
        panic!("the exporter is broken");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_of_the_exporter_is_not_noticed() {
    let broken = SdkTracerProvider::builder().with_simple_exporter(Broken).build();
    let spans = Spans::new();
    let stall = StallDetector::builder()
        .on_stall(StallSpans::new(&broken))
        .on_stall(StallSpans::new(&spans.provider))
        .start()
        .expect("settings");
    let app =
        Router::new().route("/blocking", get(blocking)).layer(stall.layer().trace_id(trace_id));
    let span = spans.stall(async || send(&app, request(None)).await, |_| true).await;
    // And on.
    let id = |span: &SpanData| attributes(span)["tower_stall.id"].clone();
    let first = id(&span);
    spans.stall(async || send(&app, request(None)).await, |span| id(span) != first).await;
}

/// What a recorder of the facade and an SDK get of the same metrics.
#[derive(Clone, Default)]
struct Names(Arc<Mutex<BTreeMap<String, u64>>>);

impl Recorder for Names {
    fn describe_counter(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_gauge(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }
    fn describe_histogram(
        &self,
        _: metrics::KeyName,
        _: Option<metrics::Unit>,
        _: metrics::SharedString,
    ) {
    }

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        self.add(key);
        metrics::Counter::noop()
    }

    fn register_gauge(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        self.add(key);
        metrics::Gauge::noop()
    }

    fn register_histogram(
        &self,
        key: &metrics::Key,
        _: &metrics::Metadata<'_>,
    ) -> metrics::Histogram {
        self.add(key);
        metrics::Histogram::noop()
    }
}

impl Names {
    fn add(&self, key: &metrics::Key) {
        *self.0.lock().expect("no panic").entry(key.name().to_owned()).or_default() += 1;
    }
}

/// One instrument as the SDK exports it.
#[derive(Debug, PartialEq)]
struct Exported {
    unit: String,
    help: String,
    kind: &'static str,
    /// By labels.
    values: BTreeMap<String, f64>,
    bounds: Vec<f64>,
}

fn labels<'a>(pairs: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> String {
    let mut pairs: Vec<_> = pairs.map(|it| format!("{}={}", it.key, it.value.as_str())).collect();
    pairs.sort();
    pairs.join(",")
}

/// The last export, by name. A name that comes twice is an error.
fn exported(
    exporter: &InMemoryMetricExporter,
    meters: &SdkMeterProvider,
) -> BTreeMap<String, Exported> {
    exporter.reset();
    meters.force_flush().expect("an export");
    let mut found = BTreeMap::new();
    for resource in exporter.get_finished_metrics().expect("metrics") {
        for scope in resource.scope_metrics() {
            assert_eq!(scope.scope().name(), "tower_stall");
            for metric in scope.metrics() {
                let (kind, values, bounds) = match metric.data() {
                    AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                        assert!(sum.is_monotonic(), "{}", metric.name());
                        let value = |it: &opentelemetry_sdk::metrics::data::SumDataPoint<u64>| {
                            (labels(it.attributes()), it.value() as f64)
                        };
                        ("sum", sum.data_points().map(value).collect(), Vec::new())
                    }
                    AggregatedMetrics::F64(MetricData::Gauge(gauge)) => {
                        let value = |it: &opentelemetry_sdk::metrics::data::GaugeDataPoint<f64>| {
                            (labels(it.attributes()), it.value())
                        };
                        ("gauge", gauge.data_points().map(value).collect(), Vec::new())
                    }
                    AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                        let value =
                            |it: &opentelemetry_sdk::metrics::data::HistogramDataPoint<f64>| {
                                (labels(it.attributes()), it.count() as f64)
                            };
                        let bounds = histogram.data_points().next().map(|it| it.bounds().collect());
                        (
                            "histogram",
                            histogram.data_points().map(value).collect(),
                            bounds.unwrap_or_default(),
                        )
                    }
                    other => panic!("{}: {other:?}", metric.name()),
                };
                let (unit, help) = (metric.unit().to_owned(), metric.description().to_owned());
                let is_new = found
                    .insert(metric.name().to_owned(), Exported { unit, help, kind, values, bounds })
                    .is_none();
                assert!(is_new, "{} comes twice", metric.name());
            }
        }
    }
    found
}

/// The one test with a recorder of the process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metrics_have_names_units_and_buckets_beside_another_recorder() {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).with_interval(LIMIT * 60).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).build();
    let other = Names::default();
    let both = FanoutBuilder::default()
        .add_recorder(other.clone())
        .add_recorder(StallMetrics::new(&meters))
        .build();
    metrics::set_global_recorder(both).expect("the first");
    let error = StallMetrics::new(&meters).install().expect_err("there is one");
    assert!(error.to_string().contains("FanoutBuilder"), "{error}");

    // The service's own.
    metrics::describe_counter!("jobs_total", metrics::Unit::Bytes, "Jobs.");
    metrics::counter!("jobs_total", "queue" => "a").increment(3);
    metrics::counter!("jobs_total", "queue" => "b").increment(4);
    metrics::counter!("jobs_total", "queue" => "a").increment(5);
    metrics::gauge!("temperature").set(21.5);
    metrics::gauge!("temperature").decrement(1.0);

    let stall = StallDetector::builder().facade(true).start().expect("settings");
    let app = Router::new().route("/blocking", get(blocking)).layer(stall.layer());
    let is_counted = |found: &BTreeMap<String, Exported>| {
        let count = "cause=sleep,handler=GET /blocking,runtime=main";
        found.get("tokio.stalls").is_some_and(|stalls| stalls.values.contains_key(count))
            && found.contains_key("tokio.stall.duration")
            // It begins at 0.
            && found.get("tokio.workers").is_some_and(|workers| workers.values["runtime=main"] > 0.0)
    };
    let start = Instant::now();
    let found = loop {
        send(&app, request(None)).await;
        tokio::time::sleep(Duration::from_millis(1500)).await; // the reporter's batch
        let found = exported(&exporter, &meters);
        if is_counted(&found) {
            break found;
        }
        assert!(start.elapsed() < LIMIT, "{found:#?}");
    };
    let jobs = &found["jobs_total"];
    assert_eq!((&*jobs.unit, &*jobs.help, jobs.kind), ("By", "Jobs.", "sum"));
    assert_eq!(jobs.values, [("queue=a".into(), 8.0), ("queue=b".into(), 4.0)].into());
    assert_eq!(found["temperature"].values, [(String::new(), 20.5)].into());

    let mut ours = 0;
    for (name, info) in METRICS.iter().zip(tower_stall::METRICS) {
        assert!(!found.contains_key(name.facade), "{} has two names", name.facade);
        let there = other.0.lock().expect("no panic").contains_key(name.facade);
        // Both got the series, or none: some come with what has not happened.
        let Some(metric) = found.get(name.name) else {
            continue;
        };
        ours += 1;
        assert!(there, "{}", name.facade);
        assert_eq!((&*metric.unit, &*metric.help), (name.unit, info.help), "{}", name.name);
        let kind = match info.kind {
            tower_stall::MetricKind::Counter => "sum",
            tower_stall::MetricKind::Gauge => "gauge",
            _ => "histogram",
        };
        assert_eq!(metric.kind, kind, "{}", name.name);
    }
    assert!(ours > 15, "{found:#?}");
    assert_eq!(found["tokio.event_loop.lag"].bounds, tower_stall::LAG_BUCKETS);
    assert_eq!(found["tokio.stall.duration"].bounds, tower_stall::STALL_BUCKETS);
    assert_eq!(found["tokio.workers"].values, [("runtime=main".to_owned(), 2.0)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_span_of_the_extensions_comes_first() {
    let spans = Spans::new();
    let stall = spans.detector();
    let tracer = spans.provider.tracer("service");
    let root = tracer.start("the request");
    let given = root.span_context().clone();
    let app = Router::new()
        .route("/blocking", get(blocking))
        .layer(stall.layer().trace_id(trace_id))
        .layer(Extension(given.clone()));
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let span = spans.stall(async || send(&app, request(Some(&traceparent))).await, |_| true).await;
    assert_eq!(span.parent_span_id, given.span_id());
}
