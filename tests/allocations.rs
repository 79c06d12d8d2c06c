//! What the marks allocate: nothing. A counting allocator is one for the process, so this is a
//! process of its own; it counts for each thread, so that the tests' own threads do not matter.
#![cfg(feature = "axum")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use http::{HeaderMap, Response};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use tokio::runtime::Runtime;
use tower::{Layer, Service, ServiceExt};
use tower_stall::StallDetector;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread past its end counts nothing.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator with the arguments unchanged; the counter is
// a thread-local without destructor, so counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    run();
    ALLOCATIONS.get() - before
}

/// A layer of the shape of ours that does nothing. It has something to share: for a layer without
/// size axum saves an allocation with each request.
#[derive(Clone)]
struct Nothing(Arc<u8>);

#[derive(Clone)]
struct NothingService<S>(S, #[expect(dead_code, reason = "the shape")] Arc<u8>);

pin_project! {
    struct NothingFuture<F> {
        #[pin]
        inner: F,
    }
}

pin_project! {
    struct NothingBody<B> {
        #[pin]
        inner: B,
    }
}

impl<S> Layer<S> for Nothing {
    type Service = NothingService<S>;

    fn layer(&self, inner: S) -> NothingService<S> {
        NothingService(inner, Arc::clone(&self.0))
    }
}

impl<S, B> Service<Request> for NothingService<S>
where
    S: Service<Request, Response = Response<B>>,
{
    type Response = Response<NothingBody<B>>;
    type Error = S::Error;
    type Future = NothingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        NothingFuture { inner: self.0.call(request) }
    }
}

impl<F: Future<Output = Result<Response<B>, E>>, B, E> Future for NothingFuture<F> {
    type Output = Result<Response<NothingBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.project().inner.poll(cx);
        polled.map(|result| result.map(|response| response.map(|inner| NothingBody { inner })))
    }
}

impl<B: http_body::Body> http_body::Body for NothingBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn started() -> (StallDetector, Runtime) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let stall = runtime.block_on(async { StallDetector::builder().start() });
    (stall.expect("a detector"), runtime)
}

#[test]
fn polls_of_watched_futures_allocate_nothing() {
    let (stall, runtime) = started();
    let polls = || {
        let mut left = 10_000;
        poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            left -= 1;
            if left > 0 { Poll::Pending } else { Poll::Ready(()) }
        })
    };
    let run = |future: Pin<&mut dyn Future<Output = ()>>| {
        runtime.block_on(async { allocations_of(future).await })
    };
    let inner = stall.watched("inner", polls());
    let mut outer = pin!(stall.watched("outer", inner));
    // The first poll of a thread makes its slot.
    runtime.block_on(stall.watched("first", async {}));
    assert_eq!(run(outer.as_mut()), 0);
}

/// What the polls of a future allocate on this thread.
async fn allocations_of(mut future: Pin<&mut dyn Future<Output = ()>>) -> u64 {
    let mut sum = 0;
    poll_fn(|cx| {
        let mut polled = Poll::Pending;
        sum += allocations(|| polled = future.as_mut().poll(cx));
        polled
    })
    .await;
    sum
}

/// What one request through a service allocates, its answer's body included.
fn of_requests<S, B>(runtime: &Runtime, service: &S, requests: Vec<Request>) -> u64
where
    S: Service<Request, Response = Response<B>, Error = Infallible> + Clone,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let (service, mut sum) = (service.clone(), 0);
    for request in requests {
        let service = service.clone();
        let mut future = pin!(async move {
            let response = service.oneshot(request).await.expect("an answer");
            let mut body = pin!(response.into_body());
            while body.frame().await.is_some() {}
        });
        sum += runtime.block_on(allocations_of(future.as_mut()));
    }
    sum
}

#[test]
fn requests_through_the_layer_allocate_what_they_do_without() {
    let (stall, runtime) = started();
    let routes = || {
        Router::new()
            .route("/users/{id}", get(async || "hello"))
            .route("/late", get(async || tokio::task::yield_now().await))
    };
    let requests = || -> Vec<Request> {
        let paths = ["/users/1", "/users/2", "/late", "/no/such/page"];
        let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let of = |path: &&str| {
            let request = http::Request::get(*path).header("traceparent", traceparent);
            request.body(Body::empty()).expect("a request")
        };
        paths.iter().cycle().take(400).map(of).collect()
    };
    let (ours, nothing) = (routes().layer(stall.layer()), routes().layer(Nothing(Arc::new(0))));
    for warm_up in [&ours, &nothing] {
        of_requests(&runtime, warm_up, requests());
    }
    let floor = of_requests(&runtime, &nothing, requests());
    assert!(floor > 0, "axum allocates, so the counter counts");
    assert_eq!(of_requests(&runtime, &ours, requests()), floor);
}

#[test]
fn requests_of_known_grpc_methods_allocate_nothing() {
    let (stall, runtime) = started();
    let inner = tower::service_fn(|_: Request| {
        let body = http_body_util::Empty::<axum::body::Bytes>::new();
        let trailers = std::future::ready(None::<Result<HeaderMap, Infallible>>);
        std::future::ready(Ok::<_, Infallible>(Response::new(body.with_trailers(trailers))))
    });
    let service = stall.layer().grpc_methods(["shop.Cart/Add"]).layer(inner);
    let requests = || -> Vec<Request> {
        let request = || {
            let request = http::Request::post("/shop.Cart/Add");
            request.header("content-type", "application/grpc").body(Body::empty())
        };
        (0..100).map(|_| request().expect("a request")).collect()
    };
    of_requests(&runtime, &service, requests());
    let nothing = Nothing(Arc::new(0)).layer(*service.get_ref());
    let floor = of_requests(&runtime, &nothing, requests());
    assert_eq!(of_requests(&runtime, &service, requests()), floor);
}

#[test]
fn polls_on_a_runtime_with_our_hooks_allocate_nothing() {
    use tower_stall::{RuntimeBuilderExt, RuntimeHooks};

    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().stall_hooks(RuntimeHooks::new()).build().expect("a runtime");
    let stall = runtime.block_on(async { StallDetector::builder().start() }).expect("a detector");
    let polls = async || {
        let before = ALLOCATIONS.get();
        for _ in 0..10_000 {
            tokio::task::yield_now().await;
        }
        ALLOCATIONS.get() - before
    };
    let rounds = runtime.spawn(async move {
        let mut counts = Vec::with_capacity(5);
        for _ in 0..5 {
            // The first one warms up; ticks come in between.
            counts.push(polls().await);
        }
        counts
    });
    let counts = runtime.block_on(rounds).expect("no panic");
    assert_eq!(counts.iter().min(), Some(&0), "{counts:?}");
    drop(stall);
}
