//! Futures with a name.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::mark::thread_slots;
use crate::runtime::registry::DetectorId;
use crate::slot::LabelId;

/// What a marked future carries: a detector and a label. Two numbers, so that copies cost nothing
/// and no detector is kept alive. The default is of no detector.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    pub(crate) detector: DetectorId,
    pub(crate) label_id: LabelId,
}

impl Mark {
    #[inline]
    pub(crate) fn enter(self) -> thread_slots::PollGuard {
        thread_slots::enter(self.detector, self.label_id)
    }
}

pin_project! {
    /// A future whose polls (and whose drop) count for a name.
    ///
    /// Made by [`StallDetector::watched`](crate::StallDetector::watched),
    /// [`StallDetector::watched_root`](crate::StallDetector::watched_root) and
    /// [`WatchExt`](crate::WatchExt).
    #[must_use = "futures do nothing unless polled"]
    pub struct Watched<F> {
        // `None` only while it is dropped.
        #[pin]
        future: Option<F>,
        mark: Mark,
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

impl<F> Watched<F> {
    pub(crate) fn new(mark: Mark, future: F) -> Self {
        Self { future: Some(future), mark }
    }
}

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let _polling = this.mark.enter();
        match this.future.as_pin_mut() {
            Some(future) => future.poll(cx),
            None => unreachable!("the future is there until it is dropped"),
        }
    }
}

impl<F> fmt::Debug for Watched<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}
