//! The routes.

use std::iter::once;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use super::guard::guarded;
use super::outbox::Outbox;
use super::{health, profiles, stalls};
use crate::config::Render;
use crate::health::HealthState;
use crate::page::Page;
use crate::runtime::registry::Registry;
use crate::vitals::OwnThread;

/// What the routes show.
pub(crate) struct Pages {
    /// Renders `/metrics`; without it there is no such route.
    pub(crate) render: Option<Render>,
    pub(crate) health: Arc<HealthState>,
    /// What `/stalls` shows; counts connections.
    pub(crate) registry: Arc<Registry>,
    /// Whether clients on other machines see the stalls, and the reasons of probes.
    pub(crate) public: bool,
}

/// Content type of the Prometheus text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

const LONGEST_ANSWER: Duration = Duration::from_secs(10);
/// No route reads a body.
const LARGEST_BODY: usize = 1024;

/// All routes, with their limits.
pub(super) fn router(Pages { render, health, registry, public }: Pages) -> Router {
    let vitals = Arc::clone(&registry.vitals);
    // Documents about stalls have a few places, metrics have others.
    let outbox = Outbox::new(Arc::clone(&vitals));
    let profiles = guarded(profiles::routes(Arc::clone(&registry), outbox.clone()), public);
    let stalls = guarded(stalls::routes(Page::new(registry), outbox), public);
    let routes = health::routes(health, public).merge(stalls);
    let mut router = routes.fallback(|| async {
        (StatusCode::NOT_FOUND, "tower-stall serves /metrics, /livez, /readyz and /stalls here\n")
    });
    if let Some(render) = render {
        let outbox = Outbox::new(Arc::clone(&vitals));
        let metrics = async move || {
            let Some(place) = outbox.place().await else {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            };
            // The user's part of it may block.
            let render = Arc::clone(&render);
            let Some(page) = outbox.make(move || render().into_bytes()).await else {
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            };
            let length = page.len() as u64;
            let body = outbox.send(place, Box::new(once(page)), Some(length));
            ([(header::CONTENT_TYPE, TEXT_FORMAT)], body).into_response()
        };
        router = router.route("/metrics", get(metrics));
    }
    router
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, LONGEST_ANSWER))
        // They have a limit of their own.
        .merge(profiles)
        .layer(RequestBodyLimitLayer::new(LARGEST_BODY))
        .layer(CatchPanicLayer::custom(move |_| {
            vitals.count_panic(OwnThread::Admin);
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }))
}
