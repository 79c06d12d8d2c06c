//! What the services of a layer share, and how a request gets its mark.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::grpc::{self, Learn};
use super::mark::{RequestMark, trace_id};
use super::routes::Routes;
#[cfg(feature = "axum")]
use super::usual::Usual;
use super::{RequestHead, route_cache};
use crate::clock::Nanos;
use crate::mark::Mark;
use crate::runtime::registry::Registry;

type Namer = dyn Fn(RequestHead<'_>) -> Option<Cow<'static, str>> + Send + Sync;
type Tracer = dyn Fn(RequestHead<'_>) -> Option<u128> + Send + Sync;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) routes: Routes,
    threshold: Nanos,
    /// Declared gRPC methods.
    pub(super) methods: Vec<Box<str>>,
    pub(super) namer: Option<Arc<Namer>>,
    pub(super) tracer: Option<Arc<Tracer>>,
    #[cfg(feature = "axum")]
    usual: Usual,
}

impl Settings {
    pub(super) fn new(registry: Arc<Registry>) -> Self {
        let threshold = registry.threshold;
        Self {
            routes: Routes::new(registry, threshold),
            threshold,
            methods: Vec::new(),
            namer: None,
            tracer: None,
            #[cfg(feature = "axum")]
            usual: Usual::default(),
        }
    }

    pub(super) fn set_threshold(&mut self, threshold: Nanos) {
        self.threshold = threshold;
        self.routes = Routes::new(Arc::clone(&self.routes.registry), threshold);
    }

    /// What readiness checks are marked with.
    #[inline]
    pub(super) fn poll_ready(&self) -> Mark {
        self.routes.poll_ready()
    }

    /// What a request is marked with, and what its answer may teach.
    ///
    /// Not inlined: a small `call` is, and builds its future in place instead of moving it.
    #[inline(never)]
    pub(super) fn request(&self, head: RequestHead<'_>) -> (RequestMark, Option<Box<Learn>>) {
        let named = self.namer.as_deref().and_then(|namer| self.named(head, namer));
        let (label_id, learn) = match named {
            Some(label_id) => (label_id, None),
            None => self.label_id(head),
        };
        let trace = match self.tracer.as_deref() {
            Some(tracer) => traced(head, tracer),
            None => trace_id(head.headers),
        };
        (RequestMark::new(self.routes.mark(label_id), trace), learn)
    }

    #[inline(never)]
    fn named(&self, head: RequestHead<'_>, namer: &Namer) -> Option<u32> {
        let name = contained(|| namer(head))?;
        Some(self.routes.label_id(route_cache::NO_METHOD, &name))
    }

    #[inline]
    fn label_id(&self, head: RequestHead<'_>) -> (u32, Option<Box<Learn>>) {
        if *head.method == Method::POST && grpc::is_grpc(head.headers) {
            return self.grpc(head);
        }
        (self.matched(head), None)
    }

    #[inline(never)]
    fn grpc(&self, head: RequestHead<'_>) -> (u32, Option<Box<Learn>>) {
        let routes = &self.routes;
        if let Some(label_id) = routes.known(route_cache::NO_METHOD, head.uri.path()) {
            return (label_id, None);
        }
        let learn = (!routes.registry.labels.is_full())
            .then(|| Box::new(Learn::new(routes.clone(), head.uri.clone())));
        (self.matched(head), learn)
    }

    #[cfg(feature = "axum")]
    #[inline]
    fn matched(&self, head: RequestHead<'_>) -> u32 {
        let routes = &self.routes;
        match head.extensions.get::<axum::extract::MatchedPath>() {
            Some(path) => self.usual.label_id(routes, route_cache::method(head.method), path),
            None => {
                routes.registry.labels.count_unmatched();
                routes.unmatched
            }
        }
    }

    #[cfg(not(feature = "axum"))]
    fn matched(&self, _: RequestHead<'_>) -> u32 {
        self.routes.unmatched
    }
}

#[inline(never)]
fn traced(head: RequestHead<'_>, tracer: &Tracer) -> u128 {
    contained(|| tracer(head)).unwrap_or(0)
}

/// Calls a user's function; a panic of it is no answer, and no harm to the request.
fn contained<T>(call: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok().flatten()
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
