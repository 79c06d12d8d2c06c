//! Tells requests, in their own spans, which stalls they were in flight with.

mod future;
mod service;

use std::sync::Arc;

use tower_layer::Layer;

use crate::runtime::registry::Registry;
pub use future::DelayedFuture;
pub use service::DelayedService;

/// Tells a request that was in flight while another one stalled its runtime, in the request's own span.
///
/// Stalls are told where they happen. This layer tells those who may have waited: of a request that was
/// slow, its trace says whose fault that was. When a request ends, or is dropped, and stalls of others on its
/// runtime lasted meanwhile for at least 10 ms, then
///
/// - the fields `stalled_by` (the handler that stalled for the longest part of the request's time) and
///   `stalled_ms` (for how long of that) are recorded in the span that the request came with, if the span has
///   them,
/// - an event at level INFO, target `tower_stall`, with `event="request_delayed"` and the stall's id, handler,
///   cause and place is in that span.
///
/// That time is an upper bound of the delay: on a multi-thread runtime other workers may have polled the
/// request meanwhile. The time before the request came to the layer is not in it, such as the time in the
/// socket while a current-thread runtime was frozen, nor is that of its body. Stalls in the request's own
/// polls are its own, and stalls of the environment are nobody's.
///
/// Put it inside of what makes the span:
///
/// ```
/// # use axum::{Router, extract::Request, routing::get};
/// # use tower_http::trace::TraceLayer;
/// # use tracing::{field::Empty, info_span};
/// # fn app(stall: &tower_stall::StallDetector) -> Router {
/// let spans = TraceLayer::new_for_http().make_span_with(|request: &Request| {
///     info_span!("request", uri = %request.uri(), stalled_by = Empty, stalled_ms = Empty)
/// });
/// Router::new()
///     .route("/hello", get(|| async { "hello" }))
///     .layer(stall.layer())
///     .layer(stall.delayed_layer())
///     .layer(spans)
/// # }
/// ```
///
/// A request costs two readings of a clock and a clone of its span. Made by
/// [`StallDetector::delayed_layer`](crate::StallDetector::delayed_layer).
#[derive(Clone)]
pub struct DelayedLayer {
    registry: Arc<Registry>,
}

impl DelayedLayer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry }
    }
}

impl<S> Layer<S> for DelayedLayer {
    type Service = DelayedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DelayedService { inner, registry: Arc::clone(&self.registry) }
    }
}

impl std::fmt::Debug for DelayedLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DelayedLayer").finish_non_exhaustive()
    }
}
