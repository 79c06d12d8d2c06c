//! The handlers: a way to block each, and some that do not.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{self, FromRequestParts, Query, State};
use axum::http::{StatusCode, request::Parts};
use axum::routing::get;
use http_body::Frame;
use tokio::runtime::{Handle, RuntimeFlavor};

type Error = Box<dyn std::error::Error>;

/// Frames of the answer of `/stream`.
const FRAMES: usize = 3;

pub(crate) fn router(file: &Path) -> Router {
    Router::new()
        .route("/healthcheck", get(async || "ok\n"))
        .route("/hello", get(async || "hello\n"))
        .route(
            "/users/{id}",
            get(async |extract::Path(id): extract::Path<String>| format!("user {id}\n")),
        )
        .route("/async", get(waits))
        .route("/blocking", get(sleeps))
        .route("/cpu", get(computes))
        .route("/lock", get(locks))
        .route("/file", get(reads_file))
        .route("/tcp", get(reads_socket))
        .route("/process", get(waits_for_child))
        .route("/stream", get(streams))
        .route("/spawn-blocking", get(blocks_elsewhere))
        .route("/block-in-place", get(blocks_in_place))
        .route("/background", get(blocks_in_background))
        .with_state(file.to_owned())
}

async fn waits(For(time): For) -> &'static str {
    tokio::time::sleep(time).await;
    "awaited: nothing was blocked\n"
}

async fn sleeps(For(time): For) -> &'static str {
    thread::sleep(time);
    "blocked the worker in thread::sleep\n"
}

async fn computes(For(time): For) -> String {
    let start = Instant::now();
    let mut rounds = 0_u64;
    while start.elapsed() < time {
        rounds = std::hint::black_box(rounds + 1);
    }
    format!("kept the worker busy for {rounds} rounds\n")
}

async fn locks(For(time): For) -> &'static str {
    let lock = Arc::new(Mutex::new(()));
    let (not_yet, is_held) = mpsc::channel::<()>();
    let holder = Arc::clone(&lock);
    thread::spawn(move || {
        let _guard = holder.lock();
        drop(not_yet);
        thread::sleep(time);
    });
    let _ = is_held.recv(); // an error: it is held now
    drop(lock.lock());
    "blocked the worker in Mutex::lock\n"
}

async fn reads_file(State(file): State<PathBuf>) -> Result<String, Failure> {
    Ok(format!("read {} bytes on the worker\n", std::fs::read(file)?.len()))
}

async fn reads_socket(For(time): For) -> Result<String, Failure> {
    let slow = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(slow.local_addr()?)?;
    thread::spawn(move || {
        let (mut connection, _) = slow.accept()?;
        thread::sleep(time);
        connection.write_all(b"blocked the worker in a read of a socket\n")
    });
    let mut answer = String::new();
    client.read_to_string(&mut answer)?;
    Ok(answer)
}

async fn waits_for_child(For(time): For) -> Result<String, Failure> {
    let status =
        std::process::Command::new("sleep").arg(time.as_secs_f64().to_string()).status()?;
    Ok(format!("blocked the worker until the child ended ({status})\n"))
}

async fn streams(For(time): For) -> Body {
    Body::new(BlockingFrames { time, left: FRAMES })
}

async fn blocks_elsewhere(For(time): For) -> Result<&'static str, Failure> {
    tokio::task::spawn_blocking(move || thread::sleep(time)).await?;
    Ok("blocked a thread that is there for it\n")
}

async fn blocks_in_place(For(time): For) -> (StatusCode, &'static str) {
    if Handle::current().runtime_flavor() == RuntimeFlavor::CurrentThread {
        return (StatusCode::NOT_IMPLEMENTED, "a current-thread runtime has no block_in_place\n");
    }
    tokio::task::block_in_place(|| thread::sleep(time));
    (StatusCode::OK, "blocked this thread, after another took over the worker\n")
}

async fn blocks_in_background(For(time): For) -> &'static str {
    tokio::spawn(async move { thread::sleep(time) });
    "a task without a name blocks a worker now\n"
}

/// `?ms=`: how long to take, half a second unless given.
struct For(Duration);

impl<S: Send + Sync> FromRequestParts<S> for For {
    type Rejection = QueryRejection;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, QueryRejection> {
        let Query(query) = Query::<HashMap<String, u64>>::from_request_parts(parts, state).await?;
        Ok(Self(Duration::from_millis(query.get("ms").copied().unwrap_or(500))))
    }
}

/// An answer that blocks in each frame.
struct BlockingFrames {
    time: Duration,
    left: usize,
}

impl http_body::Body for BlockingFrames {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        self.left -= 1;
        thread::sleep(self.time);
        let frame = Bytes::from_static(b"blocked the worker before this line\n");
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }
}

/// A failed handler: 500 and what went wrong.
struct Failure(Error);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl axum::response::IntoResponse for Failure {
    fn into_response(self) -> axum::response::Response {
        (StatusCode::INTERNAL_SERVER_ERROR, format!("{}\n", self.0)).into_response()
    }
}
