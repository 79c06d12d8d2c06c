//! Blocking code around a handler: middleware, services, nested routers, fallbacks.

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::thread::sleep;

use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;
use tower::Service;

use crate::case::{Case, told};
use crate::stage::LONG;

const SLEEP: &str = "tokio::time::sleep";

pub(crate) const CASES: &[Case] = &[
    // The function that only awaits the rest did not parse the body.
    Case::new(
        "extractor-behind-middleware",
        "MystenLabs/sui#10438, confidential-containers/guest-components#1559",
        &[told("POST /import", "cpu", "", "spawn_blocking")],
        |stage| {
            let router = Router::new().route("/import", post(import)).layer(from_fn(authenticate));
            let address = stage.serve(router.layer(DefaultBodyLimit::disable()));
            stage.post(address, "/import", super::compute::numbers(1_500_000));
        },
    ),
    Case::new(
        "extractor-inside-outer-middleware",
        "MystenLabs/sui#10438, NOFireAI/ravel#1702",
        &[told("POST /import", "cpu", "", "spawn_blocking")],
        |stage| {
            let router = Router::new().route("/import", post(import));
            let router = router.layer(DefaultBodyLimit::disable());
            let router = router.layer(stage.detector().layer()).layer(from_fn(authenticate));
            let address = stage.serve_as_it_is(router);
            stage.post(address, "/import", super::compute::numbers(1_500_000));
        },
    ),
    Case::new(
        "handler-behind-middleware",
        "actix/actix#360, palpo-im/palpo#214",
        &[told("GET /rooms", "sleep", "cases::layers::list_rooms", SLEEP)],
        |stage| {
            let router = Router::new().route("/rooms", get(|| async { list_rooms() }));
            stage.get("/rooms", router.layer(from_fn(authenticate)));
        },
    ),
    Case::new(
        "service-call-blocks",
        "confidential-containers/trustee#1490, OneSignal/linebased#5",
        &[told(
            "GET /audited",
            "sleep",
            "<cases::layers::Audited<S> as tower_service::Service<http::request::Request<axum_core::body::Body>>>::call",
            SLEEP,
        )],
        |stage| {
            let router = Router::new().route("/audited", get(|| async { "all" }));
            let audit = tower::layer::layer_fn(|inner| Audited { inner });
            stage.get("/audited", router.layer(audit));
        },
    ),
    Case::new(
        "nested-router",
        "tokio-rs/axum#2187, Arthurdw/firefly#11",
        &[told("GET /api/users/{id}", "sleep", "cases::layers::load_user", SLEEP)],
        |stage| {
            let users = Router::new().route("/users/{id}", get(|| async { load_user() }));
            stage.get("/api/users/7", Router::new().nest("/api", users));
        },
    ),
    Case::new(
        "response-mapped",
        "equilibriumco/pathfinder#3517",
        &[told("GET /proofs", "sleep", "cases::layers::add_headers", SLEEP)],
        |stage| {
            let router = Router::new().route("/proofs", get(|| async { "none" }));
            let map = axum::middleware::map_response(|response: Response| async {
                add_headers();
                response
            });
            stage.get("/proofs", router.layer(map));
        },
    ),
];

async fn authenticate(request: Request, next: Next) -> Response {
    if request.headers().contains_key("x-forbidden") {
        return Response::default();
    }
    tokio::task::yield_now().await;
    next.run(request).await
}

async fn import(Json(_): Json<Value>) -> &'static str {
    "imported"
}

#[inline(never)]
fn list_rooms() {
    here!(sleep(LONG));
}

#[derive(Clone)]
struct Audited<S> {
    inner: S,
}

impl<S> Service<Request> for Audited<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    #[inline(never)]
    fn call(&mut self, request: Request) -> S::Future {
        here!(sleep(LONG));
        self.inner.call(request)
    }
}

#[inline(never)]
fn load_user() {
    here!(sleep(LONG));
}

#[inline(never)]
fn add_headers() {
    here!(sleep(LONG));
}
