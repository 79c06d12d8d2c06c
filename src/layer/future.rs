//! The response future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use pin_project_lite::pin_project;

use super::body::ResponseBody;
use super::labels::LearnMethod;
use super::request::{InFlight, RequestMark};

pin_project! {
    /// The future of a [`StallService`](super::StallService): its polls and its drop are marked.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // `None` once it is ready.
        #[pin]
        inner: Option<F>,
        mark: RequestMark,
        // Goes on with the body.
        in_flight: Option<InFlight>,
        learn: Option<Box<LearnMethod>>,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if std::mem::needs_drop::<F>() && this.inner.is_some() {
                let _polling = this.mark.enter();
                this.inner.set(None);
            }
        }
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(
        inner: F,
        mark: RequestMark,
        in_flight: InFlight,
        learn: Option<Box<LearnMethod>>,
    ) -> Self {
        Self { inner: Some(inner), mark, in_flight: Some(in_flight), learn }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let _polling = this.mark.enter();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            panic!("a response future was polled after it was ready")
        };
        let polled = ready!(inner.poll(cx));
        // Within this poll, so that its drop is not a poll of its own.
        this.inner.set(None);
        let response = polled?;
        let learn = this.learn.take().and_then(|learn| learn.from_head(&response));
        let (mark, in_flight) = (*this.mark, this.in_flight.take());
        Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, mark, in_flight, learn))))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("mark", &self.mark).finish_non_exhaustive()
    }
}
