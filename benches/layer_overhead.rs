//! The layer takes at most 60 ns a request over one that only wraps, 75 ns where it has a `traceparent`,
//! and allocates nothing over it.
//!
//! Requests go to an axum `Router` in-process, on a worker of a multi-thread runtime; their
//! bodies are read. One layer around the routes:
//!
//! - the floor wraps the future and the body, and does nothing else;
//! - the carrying floor also carries as many bytes as ours through them, which costs copies that
//!   the compiler leaves out of the bare one: what a layer with a state for each request pays
//!   before it does anything;
//! - `TraceLayer` has no subscriber, so its spans are off;
//! - `TaskMonitor` instruments the future of each call.

#[path = "layer/allocations.rs"]
mod allocations;
#[path = "layer/floor.rs"]
mod floor;

use std::hint::black_box;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, Request, Uri};
use axum::routing::get;
use axum_prometheus::PrometheusMetricLayer;
use http_body_util::BodyExt;
use tower::Service;
use tower::util::MapFutureLayer;
use tower_http::trace::TraceLayer;
use tower_stall_benches::{
    Estimate, Rounds, Target, print_head, stay_on_one_core, watched_runtime,
};

use floor::FloorLayer;

/// A measurement is the fastest of so many chunks: other processes only ever add time.
const CHUNKS: usize = 25;
const REQUESTS: usize = 400;

const BARE: &str = "no layer";
const FLOOR: &str = "floor";
const OURS: &str = "ours";
const CARRIER: &str = "carrying floor";
const FLOOR_TRACED: &str = "floor, traceparent";
const OURS_TRACED: &str = "ours, traceparent";
const TRACE: &str = "TraceLayer";
const PROMETHEUS: &str = "axum-prometheus";
const MONITOR: &str = "TaskMonitor";

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const PATHS: [&str; 4] = ["/hello", "/users/42", "/users/42/posts/7", "/search/rust/page/3"];

fn router() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/users/{id}", get(|Path(id): Path<u64>| async move { id.to_string() }))
        .route(
            "/users/{id}/posts/{post}",
            get(|Path(ids): Path<(u64, u64)>| async move { (ids.0 + ids.1).to_string() }),
        )
        .route(
            "/search/{word}/page/{page}",
            get(|Path(ids): Path<(String, u64)>| async move { ids.0 }),
        )
}

fn main() {
    print_head("layer_overhead");
    stay_on_one_core();
    let (runtime, stall) = watched_runtime(1);
    let inside = runtime.enter();
    let (prometheus, _page) = PrometheusMetricLayer::pair();
    drop(inside);
    let monitor = tokio_metrics::TaskMonitor::new();
    let monitored = MapFutureLayer::new(move |future| monitor.instrument(future));
    let contenders = [
        (BARE, (router(), false)),
        (FLOOR, (router().layer(FloorLayer::<()>::new()), false)),
        (CARRIER, (router().layer(FloorLayer::<[u64; 4]>::new()), false)),
        (OURS, (router().layer(stall.layer()), false)),
        (FLOOR_TRACED, (router().layer(FloorLayer::<()>::new()), true)),
        (OURS_TRACED, (router().layer(stall.layer()), true)),
        (TRACE, (router().layer(TraceLayer::new_for_http()), false)),
        (PROMETHEUS, (router().layer(prometheus), false)),
        (MONITOR, (router().layer(monitored), false)),
    ];
    let measure = |(router, traced): (Router, bool)| {
        // As axum's `serve` does: without it each request would put the layers around its
        // handler anew.
        let router = router.with_state(());
        let task = runtime.spawn(requests(router, traced));
        runtime.block_on(task).expect("the task ends")
    };

    let time = Rounds::run("ns a request", &contenders, |contender| measure(contender).0);
    time.print(BARE);
    let allocations = Rounds::run("allocations a request", &contenders, |it| measure(it).1);
    allocations.print(BARE);
    time.check_over(Target::AtMost(60.0), "ours over the floor, ns", OURS, FLOOR);
    time.check_over(Target::AtMost(60.0), "ours over the carrying floor, ns", OURS, CARRIER);
    let claim = "the same with a traceparent header, ns";
    time.check_over(Target::AtMost(75.0), claim, OURS_TRACED, FLOOR_TRACED);
    for (ours, floor) in [(OURS, FLOOR), (OURS_TRACED, FLOOR_TRACED)] {
        let over = allocations.over(ours, floor);
        allocations.check_over(Target::AtMost(0.0), "allocations over the floor", ours, floor);
        assert_eq!(over, Estimate { low: 0.0, median: 0.0, high: 0.0 }, "none, in any round");
    }
}

/// Nanoseconds and allocations a request.
async fn requests(mut router: Router, traced: bool) -> (f64, f64) {
    let uris = PATHS.map(Uri::from_static);
    let traceparent = HeaderValue::from_static(TRACEPARENT);
    let (mut fastest, mut counted) = (f64::INFINITY, 0.0);
    for _ in 0..CHUNKS {
        let allocated = allocations::so_far();
        let start = Instant::now();
        for number in 0..REQUESTS {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = uris[number % uris.len()].clone();
            if traced {
                request.headers_mut().insert("traceparent", traceparent.clone());
            }
            let response = router.call(request).await.unwrap_or_else(|never| match never {});
            assert!(response.status().is_success());
            black_box(response.into_body().collect().await.expect("a body"));
        }
        fastest = (start.elapsed().as_secs_f64() * 1e9 / REQUESTS as f64).min(fastest);
        // Of the last chunk: the first ones warm up.
        counted = (allocations::so_far() - allocated) as f64 / REQUESTS as f64;
    }
    (fastest, counted)
}
