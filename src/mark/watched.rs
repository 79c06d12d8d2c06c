//! Named futures.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use super::thread_slots::Mark;

pin_project! {
    /// A future whose polls and drop count for a handler name.
    ///
    /// Made by [`StallDetector::watched`](crate::StallDetector::watched),
    /// [`StallDetector::watched_root`](crate::StallDetector::watched_root) and
    /// [`WatchExt`](crate::WatchExt).
    #[must_use = "futures do nothing unless polled"]
    pub struct Watched<F> {
        // `None` only while it is dropped.
        #[pin]
        pub(crate) future: Option<F>,
        pub(crate) mark: Mark,
    }

    impl<F> PinnedDrop for Watched<F> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if std::mem::needs_drop::<F>() {
                let _polling = this.mark.enter();
                this.future.set(None);
            }
        }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _polling = this.mark.enter();
        this.future.as_pin_mut().expect("the future is there until it is dropped").poll(cx)
    }
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}
