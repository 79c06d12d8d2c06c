//! The service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::here::sheds;
use crate::layer::is_grpc;
use crate::runtime::registry::Registry;

/// A service that turns requests away. Made by [`ShedLayer`](super::ShedLayer).
#[derive(Clone)]
pub struct ShedService<S> {
    pub(super) inner: S,
    pub(super) registry: Arc<Registry>,
    pub(super) retry_after: HeaderValue,
}

impl<S> ShedService<S> {
    /// The service inside.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Takes the service out.
    pub fn into_inner(self) -> S {
        self.inner
    }

    fn refusal<Body: Default>(&self, is_grpc: bool) -> Response<Body> {
        self.registry.shed.fetch_add(1, Relaxed);
        let mut response = Response::new(Body::default());
        let headers = response.headers_mut();
        if is_grpc {
            // A response without a body; 14 is UNAVAILABLE, which clients may retry.
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static("14"));
            headers.insert("grpc-message", HeaderValue::from_static("the runtime is frozen"));
        } else {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response.headers_mut().insert(RETRY_AFTER, self.retry_after.clone());
        response
    }
}

impl<S, RequestBody, Body> Service<Request<RequestBody>> for ShedService<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
    Body: Default,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = ShedFuture<S::Future, Body>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let kind = if sheds(&self.registry) {
            Kind::Refused { response: Some(self.refusal(is_grpc(request.headers()))) }
        } else {
            Kind::Admitted { future: self.inner.call(request) }
        };
        ShedFuture { kind }
    }
}

impl<S: fmt::Debug> fmt::Debug for ShedService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShedService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

pin_project! {
    /// The future of a [`ShedService`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ShedFuture<F, Body> {
        #[pin]
        kind: Kind<F, Body>,
    }
}

pin_project! {
    #[project = KindProjection]
    enum Kind<F, Body> {
        Admitted { #[pin] future: F },
        Refused { response: Option<Response<Body>> },
    }
}

impl<F, Body, E> Future for ShedFuture<F, Body>
where
    F: Future<Output = Result<Response<Body>, E>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().kind.project() {
            KindProjection::Admitted { future } => future.poll(cx),
            KindProjection::Refused { response } => match response.take() {
                Some(response) => Poll::Ready(Ok(response)),
                // Polled again after it was ready, which a caller must not do.
                None => Poll::Pending,
            },
        }
    }
}

impl<F, Body> fmt::Debug for ShedFuture<F, Body> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShedFuture").finish_non_exhaustive()
    }
}
