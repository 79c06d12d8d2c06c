//! The response body.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::in_flight::InFlight;
use super::labels::LearnMethod;

pin_project! {
    /// The body of a [`StallService`](super::StallService)'s response: its frames and its drop
    /// are marked, its data, size hint and trailers are those of the body inside.
    pub struct ResponseBody<B> {
        // `None` once it has ended: it is dropped in its last poll, so that the drop is not a poll of
        // its own.
        #[pin]
        pub(super) inner: Option<B>,
        pub(super) request: InFlight,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if std::mem::needs_drop::<B>() && this.inner.is_some() {
                let polling = this.request.enter();
                this.inner.set(None);
                this.request.end(&polling);
            }
        }
    }
}

type PolledFrame<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// An empty body, which an outer layer may make for a response of its own. Its polls are not marked.
impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        Self { inner: Some(B::default()), request: InFlight::default() }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<B> {
        if self.inner.is_some() { self.poll_open(cx) } else { Poll::Ready(None) }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body> ResponseBody<B> {
    #[inline]
    fn poll_open(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<B> {
        let mut this = self.project();
        let polling = this.request.enter();
        let mut inner = this.inner.as_mut().as_pin_mut().expect("it has not ended");
        let polled = inner.as_mut().poll_frame(cx);
        if this.request.learn.is_some() {
            learn_from_trailers(&mut this.request.learn, &polled);
        }
        let has_ended = match &polled {
            Poll::Ready(Some(Ok(_))) => inner.is_end_stream(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if has_ended {
            this.inner.set(None);
            this.request.end(&polling);
        }
        polled
    }
}

#[cold]
fn learn_from_trailers<D, E>(
    learn: &mut Option<Box<LearnMethod>>,
    polled: &Poll<Option<Result<Frame<D>, E>>>,
) {
    if let Poll::Ready(Some(Ok(frame))) = polled
        && let Some(trailers) = frame.trailers_ref()
    {
        *learn = learn.take().and_then(|learn| learn.from_status(trailers));
    }
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}
