//! The future, and what it tells at its end.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::runtime::{Handle, worker_index};
use tracing::Span;
use tracing::dispatcher::with_default;

use crate::clock::{self, Nanos};
use crate::runtime::registry::Registry;
use crate::stall::Overlaps;
use crate::text;

/// Of a request's time: less is not worth a line.
const LEAST: Duration = Duration::from_millis(10);

pin_project! {
    /// The future of a [`DelayedService`](super::DelayedService).
    #[must_use = "futures do nothing unless polled"]
    pub struct DelayedFuture<F> {
        #[pin]
        pub(super) inner: F,
        pub(super) time: RequestTime,
    }
}

/// The time of a request. Its end is when it is dropped.
pub(super) struct RequestTime {
    registry: Arc<Registry>,
    /// `None` once it was told.
    began: Option<Nanos>,
    span: Span,
    /// The ids of stalls in its own polls.
    own: Vec<u64>,
}

impl RequestTime {
    /// It begins now, in the current span.
    pub(super) fn begin(registry: Arc<Registry>) -> Self {
        Self { registry, began: Some(clock::now()), span: Span::current(), own: Vec::new() }
    }

    /// Runs a part of the request itself: a stall in it is its own.
    pub(super) fn of_its_own<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let before = self.registry.store.last_id();
        let result = run();
        if self.registry.store.last_id() != before {
            self.note_own(before);
        }
        result
    }

    /// Of the stalls since the one with that id, those on the worker of this thread are the request's.
    #[cold]
    fn note_own(&mut self, before: u64) {
        match self.registry.store.ids_on(worker_index(), before) {
            Some(own) => self.own.extend(own),
            None => self.give_up(),
        }
    }

    /// Somebody reads the store, and a request does not wait.
    fn give_up(&mut self) {
        self.began = None;
        self.registry.suppressed.fetch_add(1, Relaxed);
    }

    /// Tells which stalls of others lasted meanwhile.
    fn end(&mut self) {
        if let Some(began) = self.began
            && self.registry.store.was_open_since(began)
        {
            self.tell(began);
        }
        self.began = None;
    }

    #[cold]
    fn tell(&mut self, began: Nanos) {
        let Ok(handle) = Handle::try_current() else { return };
        let runtimes = self.registry.runtimes();
        let Some(runtime) = runtimes.iter().find(|runtime| runtime.id == handle.id()) else {
            return;
        };
        let now = clock::now();
        match self.registry.store.overlaps(runtime.name, (began, now), LEAST, &self.own) {
            Some(Some(overlaps)) => {
                let request = Duration::from_nanos(now - began);
                let write = || write(&self.span, request, &overlaps);
                // To where the span is, also when the request is dropped elsewhere. A subscriber may panic.
                drop(catch_unwind(AssertUnwindSafe(|| {
                    let written = self.span.with_subscriber(|(_, to)| with_default(to, write));
                    written.unwrap_or_else(write);
                })));
            }
            Some(None) => {}
            None => self.give_up(),
        }
    }
}

fn write(span: &Span, request: Duration, overlaps: &Overlaps) {
    let Overlaps { longest, time, stalls } = overlaps;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    span.record("stalled_by", &*longest.handler);
    span.record("stalled_ms", millis(*time));
    tracing::info!(
        target: "tower_stall",
        parent: span,
        event = "request_delayed",
        stall = longest.id,
        runtime = &*longest.runtime,
        handler = &*longest.handler,
        cause = longest.cause.as_str(),
        stalled_ms = millis(*time),
        request_ms = millis(request),
        stalls,
        code.function.name = longest.site.as_ref().map(|site| site.function.as_str()),
        code.file.path = longest.site.as_ref().and_then(|site| site.file.as_deref()),
        code.line.number = longest.site.as_ref().and_then(|site| site.line),
        "{}",
        text::delayed(longest, *time, request, *stalls)
    );
}

impl Drop for RequestTime {
    fn drop(&mut self) {
        self.end();
    }
}

impl<F: Future> Future for DelayedFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.time.of_its_own(|| this.inner.poll(cx));
        if polled.is_ready() {
            this.time.end();
        }
        polled
    }
}

impl<F> fmt::Debug for DelayedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayedFuture").finish_non_exhaustive()
    }
}
