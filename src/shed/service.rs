//! The service.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::answer::{ShedAnswer, Unavailable};
use super::policy::Policy;
use crate::inner_service::inner_service;

/// A service that turns requests away. Made by [`ShedLayer`](super::ShedLayer).
#[derive(Clone)]
pub struct ShedService<S, A = Unavailable> {
    pub(super) inner: S,
    pub(super) policy: Policy<A>,
}

inner_service!(ShedService<S, A>);

impl<S, A, RequestBody, Body> Service<Request<RequestBody>> for ShedService<S, A>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
    A: ShedAnswer<Body>,
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
        let kind = if self.policy.sheds(&request) {
            Kind::Refused { response: Some(self.policy.turn_away(&request)) }
        } else {
            Kind::Admitted { future: self.inner.call(request) }
        };
        ShedFuture { kind }
    }
}

impl<S: fmt::Debug, A> fmt::Debug for ShedService<S, A> {
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
