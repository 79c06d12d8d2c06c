//! Turns requests away while their runtime is frozen.
//!
//! The watchdog has the rule and writes a flag of the runtime's status; a request reads that flag.

mod answer;
mod here;
mod policy;
mod service;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::Response;
use tower_layer::Layer;

use crate::layer::RequestHead;
use crate::runtime::registry::Registry;
pub use answer::{ShedAnswer, Unavailable};
pub(crate) use here::sheds;
use policy::Policy;
pub use service::{ShedFuture, ShedService};

/// Turns requests away while the runtime they came to is frozen for longer than
/// [`Builder::shed_after`](crate::Builder::shed_after): 503 with `Retry-After`, or for gRPC
/// `UNAVAILABLE`, both without a body, or an [`answer`](Self::answer) of your own.
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
/// `tower_stall_shed_total`. Put it on some routes only with `Router::route_layer`, or name requests that
/// are [always admitted](Self::always_admit).
///
/// ```
/// # use axum::{Json, Router, http::StatusCode, response::IntoResponse, routing::get};
/// # fn app(stall: &tower_stall::StallDetector) -> Router {
/// let shed = stall
///     .shed_layer()
///     .always_admit(|request| request.uri().path() == "/login")
///     .answer(|_| (StatusCode::SERVICE_UNAVAILABLE, Json("busy")).into_response());
/// Router::new()
///     .route("/hello", get(|| async { "hello" }))
///     .layer(stall.layer())
///     .layer(shed)
/// # }
/// ```
///
/// Made by [`StallDetector::shed_layer`](crate::StallDetector::shed_layer). Without an answer of your own
/// the body of the service has to have a [`Default`], as those of axum, hyper and tonic have.
#[derive(Clone)]
pub struct ShedLayer<A = Unavailable> {
    policy: Policy<A>,
}

impl ShedLayer {
    /// Default for [`retry_after`](Self::retry_after): 1 s.
    pub const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        let answer = Unavailable::new(Self::DEFAULT_RETRY_AFTER);
        Self { policy: Policy { registry, always_admits: None, answer } }
    }

    /// Sets the `Retry-After` header, in whole seconds, rounded up.
    ///
    /// Defaults to [`DEFAULT_RETRY_AFTER`](Self::DEFAULT_RETRY_AFTER).
    #[must_use]
    pub fn retry_after(mut self, time: Duration) -> Self {
        self.policy.answer = Unavailable::new(time);
        self
    }
}

impl<A> ShedLayer<A> {
    /// Names requests that are never turned away, such as those of a probe or a login.
    ///
    /// `admits` is asked only while the runtime is frozen. If it panics, that counts as `false`. A second
    /// call replaces the first.
    #[must_use]
    pub fn always_admit(
        mut self,
        admits: impl Fn(RequestHead<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.policy.always_admits = Some(Arc::new(admits));
        self
    }

    /// Makes the answers to requests that are turned away, in place of 503 or `UNAVAILABLE`.
    ///
    /// It is called on a worker of the runtime that is frozen: be quick.
    #[must_use]
    pub fn answer<F, Body>(self, answer: F) -> ShedLayer<F>
    where
        F: Fn(RequestHead<'_>) -> Response<Body> + Clone,
    {
        let Policy { registry, always_admits, .. } = self.policy;
        ShedLayer { policy: Policy { registry, always_admits, answer } }
    }
}

impl<S, A: Clone> Layer<S> for ShedLayer<A> {
    type Service = ShedService<S, A>;

    fn layer(&self, inner: S) -> Self::Service {
        ShedService { inner, policy: self.policy.clone() }
    }
}

impl<A> fmt::Debug for ShedLayer<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShedLayer")
            .field("always_admits", &self.policy.always_admits.is_some())
            .finish_non_exhaustive()
    }
}
