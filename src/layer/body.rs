//! The response body.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::labels::LearnMethod;
use super::request::{InFlight, RequestMark};

pin_project! {
    /// The body of a [`StallService`](super::StallService)'s response: its frames and its drop
    /// are marked, its data, size hint and trailers are those of the body inside.
    pub struct ResponseBody<B> {
        // `None` only while it is dropped.
        #[pin]
        pub(super) inner: Option<B>,
        pub(super) mark: RequestMark,
        pub(super) in_flight: Option<InFlight>,
        pub(super) learn: Option<Box<LearnMethod>>,
    }

    impl<B> PinnedDrop for ResponseBody<B> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if std::mem::needs_drop::<B>() {
                let _polling = this.mark.enter();
                this.inner.set(None);
            }
        }
    }
}

type PolledFrame<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

/// An empty body, which an outer layer may make for a response of its own. Its polls are not marked.
impl<B: Default> Default for ResponseBody<B> {
    fn default() -> Self {
        let mark = RequestMark::default();
        Self { inner: Some(B::default()), mark, in_flight: None, learn: None }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame<B> {
        let this = self.project();
        let _polling = this.mark.enter();
        let inner = this.inner.as_pin_mut().expect("the body is there until it is dropped");
        if this.learn.is_some() {
            return poll_and_learn(inner, cx, this.learn);
        }
        inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// Polls a body and reads its trailers.
#[cold]
fn poll_and_learn<B: Body>(
    body: Pin<&mut B>,
    cx: &mut Context<'_>,
    learn: &mut Option<Box<LearnMethod>>,
) -> PolledFrame<B> {
    let polled = body.poll_frame(cx);
    if let Poll::Ready(Some(Ok(frame))) = &polled
        && let Some(trailers) = frame.trailers_ref()
    {
        *learn = learn.take().and_then(|learn| learn.from_status(trailers));
    }
    polled
}

impl<B: fmt::Debug> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("inner", &self.inner).finish_non_exhaustive()
    }
}
