//! `/stalls`, `/stalls/{id}`, `/stalls/{id}.md`, `/stalls.json` and `/flamegraph.svg`.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::outbox::Outbox;
use crate::page::{POLICY, Page, Parts};

/// The Content-Security-Policy of JSON: nothing is allowed.
pub(super) const NO_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";
/// The script and style of a flame graph have no hash, so it runs in a sandbox.
const FLAME_GRAPH_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; sandbox allow-scripts; frame-ancestors 'none'";

const NOT_KEPT: &str = "404: not among the stalls that are kept: those in progress, and as many that are over as \
                        `history` says\n";
const NO_FLAME_GRAPH: &str = "404: built without the flame graph. Switch on the crate's feature \
    `flamegraph`: tower-stall = { .., features = [\"flamegraph\"] }\n";

pub(super) const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const MARKDOWN: &str = "text/markdown; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// An answer without a document.
type Instead = (StatusCode, &'static str);

/// Makes the documents, and sends them.
#[derive(Clone)]
struct Maker {
    page: Arc<Page>,
    outbox: Outbox,
}

pub(super) fn routes(page: Page, outbox: Outbox) -> Router {
    let html =
        async |State(maker): State<Maker>| maker.make(HTML, POLICY, |page| Ok(page.html())).await;
    let json = async |State(maker): State<Maker>| {
        maker.make(JSON, NO_POLICY, |page| Ok(page.json())).await
    };
    let stall = async |State(maker): State<Maker>, Path(id): Path<String>| {
        let kept = |stall: Option<Parts>| stall.ok_or((StatusCode::NOT_FOUND, NOT_KEPT));
        match id.strip_suffix(".md").map(str::to_owned) {
            Some(id) => {
                let stall =
                    move |page: &Page| kept(id.parse().ok().and_then(|id| page.markdown(id)));
                maker.make(MARKDOWN, NO_POLICY, stall).await
            }
            None => {
                let stall = move |page: &Page| kept(id.parse().ok().and_then(|id| page.stall(id)));
                maker.make(HTML, POLICY, stall).await
            }
        }
    };
    let flame_graph = async |State(maker): State<Maker>| {
        if cfg!(not(feature = "flamegraph")) {
            return (StatusCode::NOT_FOUND, NO_FLAME_GRAPH).into_response();
        }
        let graph = |page: &Page| {
            page.flame_graph()
                .ok_or((StatusCode::INTERNAL_SERVER_ERROR, "500: it cannot be drawn\n"))
        };
        maker.make(SVG, FLAME_GRAPH_POLICY, graph).await
    };
    Router::new()
        .route("/stalls", get(html))
        .route("/stalls.json", get(json))
        .route("/stalls/{id}", get(stall))
        .route("/flamegraph.svg", get(flame_graph))
        .with_state(Maker { page: Arc::new(page), outbox })
}

impl Maker {
    /// An answer with the document that `make` begins, or the one it gives instead.
    async fn make(
        self,
        kind: &'static str,
        policy: &'static str,
        make: impl FnOnce(&Page) -> Result<Parts, Instead> + Send + 'static,
    ) -> Response {
        let Self { page, outbox } = self;
        let Some(place) = outbox.place().await else {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        };
        match outbox.make(move || make(&page)).await {
            Some(Ok(parts)) => {
                (headers(kind, policy), outbox.send(place, parts, None)).into_response()
            }
            Some(Err(instead)) => instead.into_response(),
            None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    }
}

pub(super) fn headers(kind: &'static str, policy: &'static str) -> [(HeaderName, &'static str); 6] {
    [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ]
}
