//! The layer and its settings.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use super::labels::{LayerLabels, NO_METHOD};
use super::request::RequestHead;
use super::service::StallService;
use super::settings::{Settings, SharedSettings};
use crate::clock::nanos;
use crate::labels::MIN_THRESHOLD;
use crate::runtime::registry::Registry;

/// Marks the polls of a service's requests. Made by [`StallDetector::layer`] and
/// [`tower_stall::layer`](crate::layer()); cheap to clone. See the [module](mod@crate::layer) for what it
/// covers and how it labels.
///
/// [`StallDetector::layer`]: crate::StallDetector::layer
#[derive(Clone, Debug)]
pub struct StallLayer {
    settings: Arc<Settings>,
}

impl StallLayer {
    pub(crate) fn new(registry: &Registry) -> Self {
        let table = Arc::clone(&registry.labels);
        let labels = LayerLabels::new(table, registry.id, registry.threshold);
        let (methods, handler_name, trace_id, kept) = Default::default();
        Self { settings: Arc::new(Settings { labels, methods, handler_name, trace_id, kept }) }
    }

    #[cfg(test)]
    pub(super) fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    fn with(&self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = (*self.settings).clone();
        set(&mut settings);
        for method in &settings.methods {
            settings.labels.of_route(NO_METHOD, method);
        }
        Self { settings: Arc::new(settings) }
    }

    /// Sets the threshold for the routes under this layer.
    ///
    /// A shorter one finds more, and has the watchdog scan more often (a quarter of the shortest
    /// threshold at most). Values below
    /// [`Builder::MIN_THRESHOLD`](crate::Builder::MIN_THRESHOLD) are raised to it.
    ///
    /// Defaults to the detector's, [`Builder::DEFAULT_THRESHOLD`](crate::Builder::DEFAULT_THRESHOLD)
    /// unless set.
    #[must_use]
    pub fn threshold(self, threshold: Duration) -> Self {
        let threshold = nanos(threshold.max(MIN_THRESHOLD));
        self.with(|settings| {
            let (table, detector) = (Arc::clone(&settings.labels.table), settings.labels.detector);
            settings.labels = LayerLabels::new(table, detector, threshold);
        })
    }

    /// Declares gRPC methods (`/pkg.Service/Method`): they have their labels from the first request
    /// on, even if no response is ever successful.
    #[must_use]
    pub fn grpc_methods<I>(self, methods: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        let path = |method: I::Item| match method.as_ref() {
            path if path.starts_with('/') => path.into(),
            method => format!("/{method}").into(),
        };
        self.with(|settings| settings.methods.extend(methods.into_iter().map(path)))
    }

    /// Takes the handler's label from a function. It is called once for each request, before the
    /// service. Where it returns `None`, the other rules apply.
    ///
    /// A panic counts as `None`. Return a small fixed set, never client input: each text becomes a
    /// label, up to the detector's cap, then `other`.
    #[must_use]
    pub fn handler_name<F>(self, name: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<Cow<'static, str>> + Send + Sync + 'static,
    {
        self.with(|settings| settings.handler_name = Some(Arc::new(name)))
    }

    /// Takes the trace id of a request from a function instead of its `traceparent` header.
    #[must_use]
    pub fn trace_id<F>(self, trace_id: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<u128> + Send + Sync + 'static,
    {
        self.with(|settings| settings.trace_id = Some(Arc::new(trace_id)))
    }
}

impl<S> Layer<S> for StallLayer {
    type Service = StallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        StallService { inner, settings: SharedSettings::of(&self.settings) }
    }
}
