//! What is counted.
//!
//! All of it runs on the first thread, inside a runtime. The watchdog of the detector sleeps, so that
//! it asks for nothing meanwhile.

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use axum::routing::get;
use http_body::Body as _;
use tower::Service;
use tower_stall::{BenchScans, StallDetector};

use crate::callgrind::{batches, stall_measured};
use crate::floor::FloorLayer;

const POLLS: u32 = 1000;
const REQUESTS: u32 = 100;
/// A second of them: what the watchdog reads once a second is part of it.
const SCANS: u32 = 40;

/// Longer than any case runs.
const LONG: Duration = Duration::from_secs(3600);

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Runs the case of that name.
pub(crate) fn run(name: &str) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(4).enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let stall = || {
        let builder = StallDetector::builder().threshold(LONG).scan_interval(LONG);
        builder.start().expect("a detector")
    };
    let routes = || Router::new().route("/hello/{name}", get(async || "hello"));
    match name {
        "bare poll" => polls(Trivial(0)),
        "marked poll" => polls(stall().watched("trivial", Trivial(0))),
        "nested poll" => {
            let stall = stall();
            let outer = stall.watched(
                "around",
                std::future::poll_fn(|_| {
                    polls(stall.watched("trivial", Trivial(0)));
                    Poll::Ready(())
                }),
            );
            assert!(pin!(outer).poll(&mut context()).is_ready());
        }
        "TaskMonitor" => polls(tokio_metrics::TaskMonitor::new().instrument(Trivial(0))),
        "request" => requests(routes().layer(stall().layer()), false),
        "request, floor" => requests(routes().layer(FloorLayer::<()>::new()), false),
        "traced request" => requests(routes().layer(stall().layer()), true),
        "traced request, floor" => requests(routes().layer(FloorLayer::<()>::new()), true),
        "scan, 4 polled" => scans(BenchScans::new(runtime.handle(), 4), true),
        "scan, 4096 idle" => scans(BenchScans::new(runtime.handle(), 4096), false),
        "scan, 4096 polled" => scans(BenchScans::new(runtime.handle(), 4096), true),
        _ => panic!("there is no case {name}"),
    }
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Counts its polls and is never ready.
struct Trivial(u64);

impl Future for Trivial {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        self.0 = black_box(self.0 + 1);
        Poll::Pending
    }
}

fn polls(future: impl Future) {
    let (mut future, mut cx) = (pin!(future), context());
    batches(POLLS, || {
        stall_measured(|| {
            for _ in 0..POLLS {
                black_box(future.as_mut().poll(&mut cx).is_ready());
            }
        });
    });
}

fn requests(router: Router, traced: bool) {
    // As axum's `serve` does: without it each request would put the layers around its handler anew.
    let mut router: Router = router.with_state(());
    let traceparent = HeaderValue::from_static(TRACEPARENT);
    let mut queue = Vec::new();
    batches(REQUESTS, || {
        for _ in 0..REQUESTS {
            let mut request = Request::get("/hello/you").body(Body::empty()).expect("a request");
            if traced {
                request.headers_mut().insert("traceparent", traceparent.clone());
            }
            queue.push(request);
        }
        stall_measured(|| queue.drain(..).for_each(|request| answer(&mut router, request)));
    });
}

/// Answers one request, and reads the body as hyper does.
fn answer(router: &mut Router, request: Request<Body>) {
    let mut cx = context();
    let Poll::Ready(Ok(response)) = pin!(router.call(request)).poll(&mut cx) else {
        panic!("the handler does not wait");
    };
    assert!(response.status().is_success());
    let mut body = pin!(response.into_body());
    while !body.is_end_stream() {
        let Poll::Ready(frame) = body.as_mut().poll_frame(&mut cx) else {
            panic!("nor does the body");
        };
        black_box(frame.is_some());
    }
}

fn scans(mut scans: BenchScans, polled: bool) {
    batches(SCANS, || {
        for _ in 0..SCANS {
            if polled {
                scans.poll_everywhere();
            }
            scans.tick();
            stall_measured(|| {
                black_box(scans.scan());
            });
        }
    });
}
