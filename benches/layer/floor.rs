//! Layers around future and body that do nothing: one as small as can be, and one that carries
//! as much as ours.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

/// What a layer's future and body carry.
pub(crate) trait Cargo: Copy {
    /// What the clones of a service share.
    type Shared: Clone + Default;
    /// Whether the future drops what is inside it as soon as it is ready, as ours does, which
    /// counts for the last poll.
    const EARLY: bool;
    fn load(shared: &Self::Shared) -> Self;
}

impl Cargo for () {
    type Shared = ();
    const EARLY: bool = false;
    fn load((): &()) {}
}

/// As many bytes as our detector, label, trace id and lesson.
impl Cargo for [u64; 4] {
    type Shared = u64;
    const EARLY: bool = true;
    fn load(shared: &u64) -> Self {
        [*shared; 4]
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FloorLayer<C = ()>(PhantomData<fn() -> C>);

impl<C> FloorLayer<C> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

pub(crate) struct FloorService<S, C: Cargo> {
    inner: S,
    shared: C::Shared,
}

impl<S: Clone, C: Cargo> Clone for FloorService<S, C> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

impl<S, C: Cargo> Layer<S> for FloorLayer<C> {
    type Service = FloorService<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        FloorService { inner, shared: C::Shared::default() }
    }
}

impl<S, C, A, B> Service<Request<A>> for FloorService<S, C>
where
    C: Cargo,
    S: Service<Request<A>, Response = Response<B>>,
{
    type Response = Response<FloorBody<B, C>>;
    type Error = S::Error;
    type Future = FloorFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let cargo = C::load(&self.shared);
        FloorFuture { inner: Some(self.inner.call(request)), cargo }
    }
}

pin_project! {
    pub(crate) struct FloorFuture<F, C> {
        #[pin]
        inner: Option<F>,
        cargo: C,
    }

    impl<F, C> PinnedDrop for FloorFuture<F, C> {
        fn drop(this: Pin<&mut Self>) {
            this.project().inner.set(None);
        }
    }
}

impl<F, C, B, E> Future for FloorFuture<F, C>
where
    C: Cargo,
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<FloorBody<B, C>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let inner = this.inner.as_mut().as_pin_mut().expect("there until dropped");
        let response = ready!(inner.poll(cx));
        if C::EARLY {
            this.inner.set(None);
        }
        let cargo = *this.cargo;
        Poll::Ready(Ok(response?.map(|body| FloorBody { inner: Some(body), cargo })))
    }
}

pin_project! {
    pub(crate) struct FloorBody<B, C> {
        #[pin]
        inner: Option<B>,
        cargo: C,
    }

    impl<B, C> PinnedDrop for FloorBody<B, C> {
        fn drop(this: Pin<&mut Self>) {
            this.project().inner.set(None);
        }
    }
}

impl<B: Body, C> Body for FloorBody<B, C> {
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
