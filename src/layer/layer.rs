//! The layer and its settings.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Method, Request, Uri};
use tower_layer::Layer;

use super::settings::Settings;
use super::{StallService, route_cache};
use crate::clock::nanos;
use crate::labels::MIN_THRESHOLD;
use crate::runtime::registry::Registry;

/// Marks what the requests of a service poll. Made by [`StallDetector::layer`] and
/// [`tower_stall::layer`](crate::layer()); cheap to clone. See the [module](mod@crate::layer) for what it
/// covers and how it labels.
///
/// [`StallDetector::layer`]: crate::StallDetector::layer
#[derive(Clone)]
pub struct StallLayer {
    settings: Arc<Settings>,
}

/// A request without its body, for functions that look at one.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    pub(super) method: &'a Method,
    pub(super) uri: &'a Uri,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    #[inline]
    pub(super) fn new<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// The method, as the client wrote it.
    #[must_use]
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The URI, as the client wrote it.
    #[must_use]
    pub fn uri(&self) -> &'a Uri {
        self.uri
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// What other layers and the router put there.
    #[must_use]
    pub fn extensions(&self) -> &'a Extensions {
        self.extensions
    }
}

impl StallLayer {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { settings: Arc::new(Settings::new(registry)) }
    }

    fn with(&self, set: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = (*self.settings).clone();
        set(&mut settings);
        for method in &settings.methods {
            settings.routes.label_id(route_cache::NO_METHOD, method);
        }
        Self { settings: Arc::new(settings) }
    }

    /// Another threshold for the routes under this layer.
    ///
    /// A shorter one finds more, and has the watchdog scan more often (a quarter of the shortest
    /// threshold at most). Values below
    /// [`Builder::MIN_THRESHOLD`](crate::Builder::MIN_THRESHOLD) are raised to it.
    ///
    /// Defaults to the detector's, [`Builder::DEFAULT_THRESHOLD`](crate::Builder::DEFAULT_THRESHOLD)
    /// unless set.
    #[must_use]
    pub fn threshold(self, threshold: Duration) -> Self {
        self.with(|settings| settings.set_threshold(nanos(threshold.max(MIN_THRESHOLD))))
    }

    /// Declares gRPC methods (`/pkg.Service/Method`), which then have their labels from the first
    /// request on, even if none is ever answered well.
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

    /// Takes the handler's label from a function, called once a request before the service is;
    /// where it returns `None` the other rules apply.
    ///
    /// Where it panics, too. Return few different texts, none that a client can choose: each becomes a label, up to the
    /// detector's cap, then `other`.
    #[must_use]
    pub fn handler_name<F>(self, name: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<Cow<'static, str>> + Send + Sync + 'static,
    {
        self.with(|settings| settings.namer = Some(Arc::new(name)))
    }

    /// Takes the trace id of a request from a function instead of its `traceparent` header.
    #[must_use]
    pub fn trace_id<F>(self, trace_id: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<u128> + Send + Sync + 'static,
    {
        self.with(|settings| settings.tracer = Some(Arc::new(trace_id)))
    }
}

impl<S> Layer<S> for StallLayer {
    type Service = StallService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        StallService::new(inner, Arc::clone(&self.settings))
    }
}

impl fmt::Debug for StallLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
