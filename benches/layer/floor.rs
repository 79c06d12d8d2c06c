//! The least that a layer around future and body can be: the shape of ours, and nothing in it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

#[derive(Clone, Copy, Debug)]
pub(crate) struct FloorLayer;

#[derive(Clone, Debug)]
pub(crate) struct FloorService<S>(S);

impl<S> Layer<S> for FloorLayer {
    type Service = FloorService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FloorService(inner)
    }
}

impl<S, A, B> Service<Request<A>> for FloorService<S>
where
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<FloorBody<B>>;
    type Error = S::Error;
    type Future = FloorFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        FloorFuture { inner: Some(self.0.call(request)) }
    }
}

pin_project! {
    pub(crate) struct FloorFuture<F> {
        #[pin]
        inner: Option<F>,
    }

    impl<F> PinnedDrop for FloorFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            this.project().inner.set(None);
        }
    }
}

impl<F, B, E> Future for FloorFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<FloorBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let inner = self.project().inner.as_pin_mut().expect("there until dropped");
        let response = ready!(inner.poll(cx))?;
        Poll::Ready(Ok(response.map(|body| FloorBody { inner: Some(body) })))
    }
}

pin_project! {
    pub(crate) struct FloorBody<B> {
        #[pin]
        inner: Option<B>,
    }

    impl<B> PinnedDrop for FloorBody<B> {
        fn drop(this: Pin<&mut Self>) {
            this.project().inner.set(None);
        }
    }
}

impl<B: Body> Body for FloorBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.project().inner.as_pin_mut().expect("there until dropped").poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
