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
    /// The future of a [`StallService`](super::StallService): with its polls and drop marked.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // `None` once it is ready.
        #[pin]
        pub(super) inner: Option<F>,
        pub(super) mark: RequestMark,
        // Moves on to the body.
        pub(super) in_flight: Option<InFlight>,
        pub(super) learn: Option<Box<LearnMethod>>,
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
        // Dropped inside this poll, so that the drop is not a poll of its own.
        this.inner.set(None);
        let response = polled?;
        let learn = this.learn.take().and_then(|learn| learn.from_head(&response));
        let (mark, in_flight) = (*this.mark, this.in_flight.take());
        let marked = |body| ResponseBody { inner: Some(body), mark, in_flight, learn };
        Poll::Ready(Ok(response.map(marked)))
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("mark", &self.mark).finish_non_exhaustive()
    }
}
