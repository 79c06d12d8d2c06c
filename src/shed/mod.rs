//! Turns requests away while their runtime is frozen.
//!
//! The watchdog has the rule and writes a flag of the runtime's status; a request reads that flag.

mod here;
mod service;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use tower_layer::Layer;

use crate::runtime::registry::Registry;
pub use service::{ShedFuture, ShedService};

/// Turns requests away while the runtime they came to is frozen for longer than
/// [`Builder::shed_after`](crate::Builder::shed_after): 503 with `Retry-After`, or for gRPC
/// `UNAVAILABLE`, both without a body.
///
/// Only the current freeze counts, not an average: a slow minute in the past turns nobody away, and
/// requests are let in again at the first tick in time. A frozen runtime cannot run this layer
/// either. It turns away
///
/// - on a multi-thread runtime the requests that a worker takes up while ticks are missing,
/// - on a current-thread runtime only the backlog: the requests that arrived during the freeze and are
///   read when it is over. Their callers have waited long, and many have given up.
///
/// Put it around everything that costs something; inside or outside of
/// [`StallLayer`](crate::StallLayer) is the same. Requests turned away are counted in
/// `tower_stall_shed_total`.
///
/// ```
/// # use axum::{Router, routing::get};
/// # fn app(stall: &tower_stall::StallDetector) -> Router {
/// Router::new()
///     .route("/hello", get(|| async { "hello" }))
///     .layer(stall.layer())
///     .layer(stall.shed_layer())
/// # }
/// ```
///
/// Made by [`StallDetector::shed_layer`](crate::StallDetector::shed_layer). The body of the service
/// has to have a [`Default`], as those of axum, hyper and tonic have.
#[derive(Clone, Debug)]
pub struct ShedLayer {
    registry: Arc<Registry>,
    retry_after: HeaderValue,
}

impl ShedLayer {
    /// Default for [`retry_after`](Self::retry_after): 1 s.
    pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        let retry_after = header(Self::DEFAULT_RETRY_AFTER);
        Self { registry, retry_after }
    }

    /// Sets the `Retry-After` header, in whole seconds, rounded up.
    ///
    /// Defaults to [`DEFAULT_RETRY_AFTER`](Self::DEFAULT_RETRY_AFTER).
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.retry_after = header(time);
        self
    }
}

fn header(time: Duration) -> HeaderValue {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    HeaderValue::from(seconds)
}

impl<S> Layer<S> for ShedLayer {
    type Service = ShedService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        let Self { registry, retry_after } = self.clone();
        ShedService { inner, registry, retry_after }
    }
}
