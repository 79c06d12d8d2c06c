//! The service: handlers that do no harm, and those that commit a fault when a request comes for it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use futures::stream;
use tokio::runtime::{Builder, Handle};
use tokio::time::sleep;
use tower::ServiceExt;
use tower_stall::StallDetector;

use crate::broken::Broken;
use crate::kit;
use crate::machine::waited_for_cpu;
use crate::timed::LongPolls;

/// What panics that are part of the plan carry.
#[derive(Debug)]
pub(crate) struct OnPurpose;

/// A moment of a thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) at: Instant,
    thread: ThreadId,
    waited: Duration,
}

impl Moment {
    pub(crate) fn now() -> Self {
        let (thread, waited) = (std::thread::current().id(), waited_for_cpu());
        Self { at: Instant::now(), thread, waited }
    }

    /// How long the thread was without a CPU until then, if it is the same one.
    pub(crate) fn without_cpu(&self, until: &Self) -> Duration {
        let is_same = self.thread == until.thread;
        if is_same { until.waited.saturating_sub(self.waited) } else { Duration::ZERO }
    }
}

/// Tells begin and end of a fault: when it is made and when it is dropped.
#[derive(Debug)]
pub(crate) struct Mark(Sender<Moment>);

impl Mark {
    pub(crate) fn begin(tell: Sender<Moment>) -> Self {
        // Whoever has given up does not listen.
        let _ = tell.send(Moment::now());
        Self(tell)
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        let _ = self.0.send(Moment::now());
    }
}

/// A fault that waits for its request.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) handler: MethodRouter,
    pub(crate) tell: Sender<Moment>,
    /// Whether the handler panics at its end.
    pub(crate) panics: bool,
}

/// The faults that wait, by path; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stage(Arc<Mutex<BTreeMap<String, Waiting>>>);

impl Stage {
    pub(crate) fn put(&self, path: String, waiting: Waiting) {
        self.0.lock().expect("not poisoned").insert(path, waiting);
    }

    pub(crate) fn take(&self, path: &str) -> Option<Waiting> {
        self.0.lock().expect("not poisoned").remove(path)
    }
}

async fn commit(State(stage): State<Stage>, path: MatchedPath, request: Request) -> Response {
    let Some(waiting) = stage.take(path.as_str()) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mark = Mark::begin(waiting.tell);
    let answer = waiting.handler.oneshot(request).await;
    drop(mark);
    if waiting.panics {
        std::panic::panic_any(OnPurpose);
    }
    answer.unwrap_or_else(|never| match never {})
}

async fn panics() {
    std::panic::panic_any(OnPurpose);
}

async fn task_panics() -> &'static str {
    tokio::spawn(panics());
    "a task panics now\n"
}

async fn waits() -> &'static str {
    sleep(Duration::from_millis(20)).await;
    "awaited\n"
}

async fn blocks_elsewhere() -> &'static str {
    let slept = tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(150)));
    slept.await.map_or("it is shut down\n", |()| "blocked a thread that is there for it\n")
}

/// Some frames with pauses.
async fn streams() -> Body {
    Body::from_stream(stream::unfold(0, async |sent| {
        sleep(Duration::from_millis(10)).await;
        let frame = Ok::<_, Infallible>(Bytes::from_static(&[b'.'; 1000]));
        (sent < 5).then_some((frame, sent + 1))
    }))
}

/// The routes under the layer of the detector.
pub(crate) fn router(
    stall: &StallDetector,
    stage: &Stage,
    polls: &LongPolls,
    broken: Broken,
) -> Router {
    let harmless = Router::new()
        .route("/hello", get(async move || broken.hello()))
        .route("/users/{id}", get(async |Path(id): Path<String>| format!("user {id}\n")))
        .route("/async", get(waits))
        .route("/stream", get(streams))
        .route("/spawn-blocking", get(blocks_elsewhere))
        .route("/panic", get(panics))
        .route("/panic-task", get(task_panics));
    // Where one is broken by hand, nothing excuses it.
    let harmless = if broken.is_any() { harmless } else { harmless.layer(polls.clone()) };
    let mut outside = Router::new();
    let mut app = harmless;
    for row in kit::rows() {
        let route = get(commit).with_state(stage.clone());
        if broken.is_outside(row.expected.name) {
            outside = outside.route(&row.path(), route);
        } else {
            app = app.route(&row.path(), route);
        }
    }
    app.layer(stall.layer()).merge(outside)
}

/// Serves on a port of that runtime.
pub(crate) fn serve(runtime: &Handle, app: Router) -> SocketAddr {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a flag");
    let address = listener.local_addr().expect("bound");
    let _inside = runtime.enter();
    let listener = tokio::net::TcpListener::from_std(listener).expect("it does not block");
    runtime.spawn(async move { axum::serve(listener, app).await });
    address
}

/// A runtime with one thread that lasts as long as the process.
pub(crate) fn current_thread() -> Handle {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    handle
}

/// A runtime with so many workers that lasts as long as the process.
pub(crate) fn multi_thread(workers: usize) -> Handle {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(workers).enable_all().build().expect("a runtime");
    let handle = runtime.handle().clone();
    std::mem::forget(runtime);
    handle
}
