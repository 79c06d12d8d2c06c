//! The service.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use tower_service::Service;

use super::future::{DelayedFuture, RequestTime};
use crate::inner_service::inner_service;
use crate::runtime::registry::Registry;

/// A service that tells requests which stalls they were in flight with. Made by
/// [`DelayedLayer`](super::DelayedLayer).
#[derive(Clone)]
pub struct DelayedService<S> {
    pub(super) inner: S,
    pub(super) registry: Arc<Registry>,
}

inner_service!(DelayedService<S>);

impl<S, Body> Service<Request<Body>> for DelayedService<S>
where
    S: Service<Request<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DelayedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut time = RequestTime::begin(Arc::clone(&self.registry));
        let inner = time.of_its_own(|| self.inner.call(request));
        DelayedFuture { inner, time }
    }
}

impl<S: fmt::Debug> fmt::Debug for DelayedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayedService").field("inner", &self.inner).finish_non_exhaustive()
    }
}
