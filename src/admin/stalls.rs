//! `/stalls`, `/stalls/{id}`, `/stalls.json` and `/flamegraph.svg`.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::guard::local_only;
use crate::page::{POLICY, Page};

/// To be shown by programs and as a picture: nothing runs.
const NO_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

/// Without the feature there is none.
#[cfg(not(feature = "flamegraph"))]
const NO_FLAME_GRAPH: &str = "404: built without the flame graph. Switch on the crate's feature \
    `flamegraph`: tower-stall = { .., features = [\"flamegraph\"] }\n";
/// Its script and style have no hash, so it runs apart from everything else of this origin.
#[cfg(feature = "flamegraph")]
const FLAME_GRAPH_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; sandbox allow-scripts; frame-ancestors 'none'";

const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
#[cfg(feature = "flamegraph")]
const SVG: &str = "image/svg+xml";

pub(super) fn routes(page: Page, public: bool) -> Router {
    // One page at a time, and not on the thread that answers probes.
    let turn = Arc::new(Semaphore::new(1));
    let page = Arc::new(page);
    let make = move |make: fn(&Page, Option<u64>) -> Response| {
        let (page, turn) = (Arc::clone(&page), Arc::clone(&turn));
        move |id: Option<u64>| make_aside(page, turn, move |page| make(page, id))
    };
    let html = make(|page, _| text(HTML, POLICY, page.html()));
    let json = make(|page, _| text(JSON, NO_POLICY, page.json()));
    let stall = make(|page, id| match id.and_then(|id| page.stall(id)) {
        Some(html) => text(HTML, POLICY, html),
        None => {
            (StatusCode::NOT_FOUND, "404: not among the stalls that are kept\n").into_response()
        }
    });
    let routes = Router::new()
        .route("/stalls", get(move || html(None)))
        .route("/stalls.json", get(move || json(None)))
        .route("/stalls/{id}", get(move |Path(id): Path<String>| stall(id.parse().ok())));
    #[cfg(feature = "flamegraph")]
    let routes = {
        let graph = make(|page, _| match page.flame_graph() {
            Some(graph) => text(SVG, FLAME_GRAPH_POLICY, graph),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        });
        routes.route("/flamegraph.svg", get(move || graph(None)))
    };
    #[cfg(not(feature = "flamegraph"))]
    let routes =
        routes.route("/flamegraph.svg", get(async || (StatusCode::NOT_FOUND, NO_FLAME_GRAPH)));
    if public { routes } else { routes.layer(from_fn(local_only)) }
}

async fn make_aside<F>(page: Arc<Page>, turn: Arc<Semaphore>, make: F) -> Response
where
    F: FnOnce(&Page) -> Response + Send + 'static,
{
    let Ok(turn) = turn.acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let made = spawn_blocking(move || {
        let made = make(&page);
        drop(turn);
        made
    });
    made.await.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response())
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
