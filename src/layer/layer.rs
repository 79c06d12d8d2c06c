//! The layer and its settings.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Method, Request, Uri};
use tower_layer::Layer;

use super::grpc::{self, Learn};
use super::mark::RequestMark;
use super::{StallService, cache};
use crate::clock::{Nanos, nanos};
use crate::detector::hub::Hub;
use crate::detector::markers::{Kind, MIN_THRESHOLD, OTHER, POLL_READY, Route, UNMATCHED};
use crate::instrument::Mark;

/// Marks what the requests of a service poll. Made by [`StallDetector::layer`] and
/// [`tower_stall::layer`](crate::layer()); cheap to clone. See the [module](self) for what it
/// covers and how it labels.
///
/// [`StallDetector::layer`]: crate::StallDetector::layer
#[derive(Clone)]
pub struct StallLayer {
    settings: Arc<Settings>,
}

type Namer = Arc<dyn Fn(RequestHead<'_>) -> Option<Cow<'static, str>> + Send + Sync>;
type Tracer = Arc<dyn Fn(RequestHead<'_>) -> Option<u128> + Send + Sync>;

/// What the services of a layer share.
#[derive(Clone)]
pub(super) struct Settings {
    hub: Arc<Hub>,
    threshold: Nanos,
    unmatched: u32,
    other: u32,
    poll_ready: u32,
    namer: Option<Namer>,
    tracer: Option<Tracer>,
}

/// A request without its body, for functions that look at one.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    method: &'a Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    extensions: &'a Extensions,
}

impl<'a> RequestHead<'a> {
    fn new<B>(request: &'a Request<B>) -> Self {
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
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let threshold = hub.threshold;
        Self { settings: Arc::new(Settings::new(hub, threshold)) }
    }

    /// Another threshold for the routes under this layer.
    ///
    /// A shorter one finds more, and has the watchdog scan more often (a quarter of the shortest
    /// threshold at most). Values below [`Builder::MIN_THRESHOLD`](crate::Builder::MIN_THRESHOLD) are raised to it.
    ///
    /// Defaults to the detector's, [`Builder::DEFAULT_THRESHOLD`](crate::Builder::DEFAULT_THRESHOLD)
    /// unless set.
    #[must_use]
    pub fn threshold(self, threshold: Duration) -> Self {
        let threshold = nanos(threshold.max(MIN_THRESHOLD));
        let old = &self.settings;
        let new = Settings {
            namer: old.namer.clone(),
            tracer: old.tracer.clone(),
            ..Settings::new(Arc::clone(&old.hub), threshold)
        };
        Self { settings: Arc::new(new) }
    }

    /// Declares gRPC methods (`/pkg.Service/Method`), which then have their labels from the first
    /// request on, even if none is ever answered well.
    ///
    /// Call it after [`threshold`](Self::threshold): a declaration is for one threshold.
    #[must_use]
    pub fn grpc_methods<I>(self, methods: I) -> Self
    where
        I: IntoIterator,
        I::Item: AsRef<str>,
    {
        for method in methods {
            let method = method.as_ref();
            let path = if method.starts_with('/') { method } else { &format!("/{method}") };
            self.settings.route(cache::NO_METHOD, path);
        }
        self
    }

    /// Takes the handler's label from a function, called once a request before the service is;
    /// where it returns `None` the other rules apply.
    ///
    /// Return few different texts, none that a client can choose: each becomes a label, up to the
    /// detector's cap, then `other`.
    #[must_use]
    pub fn handler_name<F>(self, name: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<Cow<'static, str>> + Send + Sync + 'static,
    {
        let namer: Option<Namer> = Some(Arc::new(name));
        Self { settings: Arc::new(Settings { namer, ..(*self.settings).clone() }) }
    }

    /// Takes the trace id of a request from a function instead of its `traceparent` header.
    #[must_use]
    pub fn trace_id<F>(self, trace_id: F) -> Self
    where
        F: Fn(RequestHead<'_>) -> Option<u128> + Send + Sync + 'static,
    {
        let tracer: Option<Tracer> = Some(Arc::new(trace_id));
        Self { settings: Arc::new(Settings { tracer, ..(*self.settings).clone() }) }
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

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StallLayer")
            .field("threshold", &Duration::from_nanos(self.threshold))
            .field("handler_name", &self.namer.is_some())
            .field("trace_id", &self.tracer.is_some())
            .finish_non_exhaustive()
    }
}

impl Settings {
    fn new(hub: Arc<Hub>, threshold: Nanos) -> Self {
        let marker = |label| hub.markers.marker(label, threshold, Kind::Task);
        let (unmatched, other) = (marker(UNMATCHED), marker(OTHER));
        let poll_ready = marker(POLL_READY);
        Self { hub, threshold, unmatched, other, poll_ready, namer: None, tracer: None }
    }

    fn mark(&self, marker: u32) -> Mark {
        Mark { detector: self.hub.id, marker }
    }

    /// What readiness checks are marked with.
    pub(super) fn poll_ready(&self) -> Mark {
        self.mark(self.poll_ready)
    }

    /// What a request is marked with, and what its answer may teach.
    #[inline]
    pub(super) fn request<B>(
        self: &Arc<Self>,
        request: &Request<B>,
    ) -> (RequestMark, Option<Box<Learn>>) {
        let head = RequestHead::new(request);
        let (marker, learn) = self.marker(head);
        let trace = match &self.tracer {
            Some(tracer) => tracer(head),
            None => super::mark::trace_id(head.headers),
        };
        (RequestMark::new(self.mark(marker), trace.unwrap_or(0)), learn)
    }

    #[inline]
    fn marker(self: &Arc<Self>, head: RequestHead<'_>) -> (u32, Option<Box<Learn>>) {
        if let Some(name) = self.namer.as_ref().and_then(|namer| namer(head)) {
            return (self.route(cache::NO_METHOD, &name), None);
        }
        let mut learn = None;
        if *head.method == Method::POST && grpc::is_grpc(head.headers) {
            if let Some(marker) = self.known_route(cache::NO_METHOD, head.uri.path()) {
                return (marker, None);
            }
            if !self.hub.markers.is_full() {
                learn = Some(Box::new(Learn::new(Arc::clone(self), head.uri.clone())));
            }
        }
        (self.matched(head).unwrap_or(self.unmatched), learn)
    }

    #[cfg(feature = "axum")]
    #[inline]
    fn matched(&self, head: RequestHead<'_>) -> Option<u32> {
        let Some(path) = head.extensions.get::<axum::extract::MatchedPath>() else {
            self.hub.markers.count_unmatched();
            return None;
        };
        Some(self.route(cache::method(head.method), path.as_str()))
    }

    #[cfg(not(feature = "axum"))]
    #[expect(clippy::unused_self, reason = "the same signature as with axum")]
    fn matched(&self, _: RequestHead<'_>) -> Option<u32> {
        None
    }

    /// The marker of a route; makes its label at the first request.
    #[inline]
    pub(super) fn route(&self, method: u8, path: &str) -> u32 {
        let route = self.ask(method, path);
        cache::find(self.hub.id, route).unwrap_or_else(|| self.route_in_table(route))
    }

    #[cold]
    fn route_in_table(&self, route: Route<'_>) -> u32 {
        let (marker, path) = self.hub.markers.route(route, cache::prefix(route.method));
        if let Some(path) = path {
            cache::keep(self.hub.id, Route { path, ..route }, marker);
        }
        marker
    }

    /// The marker of a route that has a label already.
    fn known_route(&self, method: u8, path: &str) -> Option<u32> {
        let route = self.ask(method, path);
        cache::find(self.hub.id, route).or_else(|| {
            let (marker, path) = self.hub.markers.known(route)?;
            cache::keep(self.hub.id, Route { path, ..route }, marker);
            Some(marker)
        })
    }

    fn ask<'a>(&self, method: u8, path: &'a str) -> Route<'a> {
        Route { unmatched: self.unmatched, other: self.other, method, path }
    }
}
