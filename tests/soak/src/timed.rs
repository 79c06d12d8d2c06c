//! Times the polls of handlers of which nothing is expected: on a busy machine one may block by itself, and be
//! found. The pool of `spawn_blocking`, for one, has a lock that is held while a thread starts.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::{MatchedPath, Request};
use tower::{Layer, Service};

use crate::service::Moment;

/// Shorter polls are no stalls.
const LONG: Duration = Duration::from_millis(60);

/// A poll that took long.
#[derive(Clone, Debug)]
pub(crate) struct LongPoll {
    pub(crate) handler: String,
    pub(crate) begin: Moment,
}

/// A layer that notes long polls; clones share the list.
#[derive(Clone, Debug, Default)]
pub(crate) struct LongPolls(Arc<Mutex<Vec<LongPoll>>>);

impl LongPolls {
    /// Those that are new.
    pub(crate) fn take(&self) -> Vec<LongPoll> {
        std::mem::take(&mut self.0.lock().expect("not poisoned"))
    }

    fn time<R>(&self, handler: &str, poll: impl FnOnce() -> R) -> R {
        let begin = Moment::now();
        let result = poll();
        let end = Moment::now();
        // What the thread waited for a CPU is the environment's.
        if (end.at - begin.at).saturating_sub(begin.without_cpu(&end)) > LONG {
            let long = LongPoll { handler: handler.to_owned(), begin };
            self.0.lock().expect("not poisoned").push(long);
        }
        result
    }
}

impl<S> Layer<S> for LongPolls {
    type Service = Timed<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Timed { inner, polls: self.clone() }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Timed<S> {
    inner: S,
    polls: LongPolls,
}

impl<S: Service<Request>> Service<Request> for Timed<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        let handler = format!("{} {path}", request.method());
        let future = Box::pin(self.inner.call(request));
        TimedFuture { future, handler, polls: self.polls.clone() }
    }
}

#[derive(Debug)]
pub(crate) struct TimedFuture<F> {
    future: Pin<Box<F>>,
    handler: String,
    polls: LongPolls,
}

impl<F: Future> Future for TimedFuture<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Self { future, handler, polls } = &mut *self;
        polls.time(handler, || future.as_mut().poll(cx))
    }
}
