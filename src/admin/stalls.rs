//! `/stalls`, `/stalls/{id}`, `/stalls.json` and `/flamegraph.svg`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::guard::local_only;
use crate::page::{POLICY, Page};

/// The Content-Security-Policy of JSON: nothing is allowed.
const NO_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// The script and style of a flame graph have no hash, so it runs in a sandbox.
const FLAME_GRAPH_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; sandbox allow-scripts; frame-ancestors 'none'";

const NOT_KEPT: &str = "404: not among the stalls that are kept\n";
const NO_FLAME_GRAPH: &str = "404: built without the flame graph. Switch on the crate's feature \
    `flamegraph`: tower-stall = { .., features = [\"flamegraph\"] }\n";

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// Makes one page at a time, and not on the thread that answers probes.
#[derive(Clone)]
struct Maker {
    page: Arc<Page>,
    turn: Arc<Semaphore>,
}

pub(super) fn routes(page: Page, public: bool) -> Router {
    let html =
        async |State(maker): State<Maker>| maker.make(|page| text(HTML, POLICY, page.html())).await;
    let json = async |State(maker): State<Maker>| {
        maker.make(|page| text(JSON, NO_POLICY, page.json())).await
    };
    let stall = async |State(maker): State<Maker>, Path(id): Path<String>| {
        let stall = move |page: &Page| match id.parse().ok().and_then(|id| page.stall(id)) {
            Some(html) => text(HTML, POLICY, html),
            None => (StatusCode::NOT_FOUND, NOT_KEPT).into_response(),
        };
        maker.make(stall).await
    };
    let flame_graph = async |State(maker): State<Maker>| {
        if cfg!(not(feature = "flamegraph")) {
            return (StatusCode::NOT_FOUND, NO_FLAME_GRAPH).into_response();
        }
        let graph = |page: &Page| match page.flame_graph() {
            Some(graph) => text(SVG, FLAME_GRAPH_POLICY, graph),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        };
        maker.make(graph).await
    };
    let routes = Router::new()
        .route("/stalls", get(html))
        .route("/stalls.json", get(json))
        .route("/stalls/{id}", get(stall))
        .route("/flamegraph.svg", get(flame_graph))
        .with_state(Maker { page: Arc::new(page), turn: Arc::new(Semaphore::new(1)) });
    if public { routes } else { routes.layer(from_fn(local_only)) }
}

impl Maker {
    async fn make(self, make: impl FnOnce(&Page) -> Response + Send + 'static) -> Response {
        let Ok(turn) = self.turn.acquire_owned().await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        let made = spawn_blocking(move || {
            let made = make(&self.page);
            drop(turn);
            made
        });
        made.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
    }
}

fn text(kind: &'static str, policy: &'static str, body: impl IntoResponse) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    (headers, body).into_response()
}
