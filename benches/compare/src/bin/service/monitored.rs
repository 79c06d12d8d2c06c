//! tokio-metrics around a handler: its documentation instruments the future of each route.

use std::task::{Context, Poll};

use tokio_metrics::{Instrumented, TaskMonitor};
use tower::{Layer, Service};

/// Instruments the futures of what is inside.
#[derive(Clone)]
pub(crate) struct Monitored<S> {
    monitor: TaskMonitor,
    inner: S,
}

/// Makes [`Monitored`].
#[derive(Clone)]
pub(crate) struct MonitoredLayer(pub(crate) TaskMonitor);

impl<S> Layer<S> for MonitoredLayer {
    type Service = Monitored<S>;

    fn layer(&self, inner: S) -> Monitored<S> {
        Monitored { monitor: self.0.clone(), inner }
    }
}

impl<S: Service<R>, R> Service<R> for Monitored<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Instrumented<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> Self::Future {
        self.monitor.instrument(self.inner.call(request))
    }
}
