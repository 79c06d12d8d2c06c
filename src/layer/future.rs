//! The response future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Response;
use pin_project_lite::pin_project;

use super::body::ResponseBody;
use super::in_flight::InFlight;

pin_project! {
    /// The future of a [`StallService`](super::StallService): with its polls and drop marked.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        // `None` once it is ready.
        #[pin]
        pub(super) inner: Option<F>,
        // Moves on to the body.
        pub(super) request: InFlight,
    }

    impl<F> PinnedDrop for ResponseFuture<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if std::mem::needs_drop::<F>() && this.inner.is_some() {
                let polling = this.request.enter();
                this.inner.set(None);
                this.request.end(&polling);
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
        let _polling = this.request.enter();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            panic!("a response future was polled after it was ready")
        };
        let polled = inner.poll(cx);
        if polled.is_pending() {
            return Poll::Pending;
        }
        // Dropped inside this poll, so that the drop is not a poll of its own.
        this.inner.set(None);
        polled.map_ok(|response| {
            let mut request = this.request.take();
            if let Some(learn) = request.learn.take() {
                request.learn = learn.from_head(&response);
            }
            response.map(|body| ResponseBody { inner: Some(body), request })
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("request", &self.request).finish_non_exhaustive()
    }
}
