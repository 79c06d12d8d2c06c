//! Threads that sleep, in the places where services hide it.

use std::thread::sleep;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use axum::{Router, body::Body};

use futures::StreamExt;

use crate::case::{Case, told};
use crate::stage::LONG;

const FIX: &str = "tokio::time::sleep";

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "sleep-between-polls",
        "64bit/async-openai#194",
        &[told("GET /runs/{id}", "sleep", "cases::sleeps::wait_for_run", FIX)],
        |stage| stage.get("/runs/7", Router::new().route("/runs/{id}", get(show_run))),
    ),
    Case::new(
        "sleep-in-retry",
        "utensils/claudette#1020, ihrwein/backoff#71",
        &[told("GET /archive", "sleep", "cases::sleeps::retry", FIX)],
        |stage| stage.get("/archive", Router::new().route("/archive", get(archive))),
    ),
    Case::new(
        "sleep-in-middleware",
        "aptos-labs/aptos-indexer-processors#268, oxidecomputer/cio#13",
        &[told("GET /quotes", "sleep", "cases::sleeps::throttle", FIX)],
        |stage| {
            let router = Router::new().route("/quotes", get(|| async { "none" }));
            stage.get("/quotes", router.layer(from_fn(throttle)));
        },
    ),
    Case::new(
        "sleep-in-extractor",
        "actix/examples#350",
        &[told(
            "GET /me",
            "sleep",
            "<cases::sleeps::Session as axum_core::extract::FromRequestParts<S>>::from_request_parts",
            FIX,
        )],
        |stage| {
            let router = Router::new().route("/me", get(|_: Session| async { "you" }));
            stage.get("/me", router);
        },
    ),
    Case::new(
        "sleep-in-drop",
        "Arthurdw/firefly#11; rust-lang/rfcs: async drop is missing, so guards block in Drop",
        &[told(
            "GET /upload",
            "sleep",
            "<cases::sleeps::Upload as core::ops::drop::Drop>::drop",
            FIX,
        )],
        |stage| stage.get("/upload", Router::new().route("/upload", get(upload))),
    ),
    Case::new(
        "sleep-in-body",
        "tokio-rs/axum#2187, equilibriumco/beerus#629",
        &[told("GET /events", "sleep", "cases::sleeps::next_event", FIX)],
        |stage| stage.get("/events", Router::new().route("/events", get(events))),
    ),
];

async fn show_run() -> &'static str {
    wait_for_run().await;
    "completed"
}

async fn wait_for_run() {
    tokio::task::yield_now().await;
    here!(sleep(LONG));
}

async fn archive() -> &'static str {
    let mut failures = 1;
    retry(|| {
        failures -= 1;
        failures < 0
    });
    "archived"
}

#[inline(never)]
fn retry(mut operation: impl FnMut() -> bool) {
    while !operation() {
        here!(sleep(LONG));
    }
}

async fn throttle(request: Request, next: Next) -> Response {
    here!(sleep(LONG));
    next.run(request).await
}

struct Session;

impl<S: Sync> FromRequestParts<S> for Session {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(_: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        here!(sleep(LONG));
        Ok(Self)
    }
}

struct Upload;

impl Drop for Upload {
    fn drop(&mut self) {
        here!(sleep(LONG));
    }
}

async fn upload() -> &'static str {
    let upload = Upload;
    tokio::task::yield_now().await;
    drop(upload);
    "done"
}

async fn events() -> Body {
    let events = futures::stream::iter([1, 2]).map(next_event);
    Body::from_stream(events)
}

#[inline(never)]
fn next_event(number: u32) -> Result<String, std::convert::Infallible> {
    if number == 2 {
        here!(sleep(LONG));
    }
    Ok(format!("event {number}\n"))
}
