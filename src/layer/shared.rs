//! What the clones of one service share, and how a request gets its mark.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use http::Method;

use super::grpc::{self, Learn};
use super::layer::{Namer, Settings, Tracer};
use super::mark::{RequestMark, trace_id};
#[cfg(feature = "axum")]
use super::usual::Usual;
use super::{RequestHead, cache};
use crate::instrument::Mark;

pub(super) struct Shared {
    settings: Arc<Settings>,
    #[cfg(feature = "axum")]
    usual: Usual,
}

impl Shared {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        Self {
            settings,
            #[cfg(feature = "axum")]
            usual: Usual::default(),
        }
    }

    /// What readiness checks are marked with.
    #[inline]
    pub(super) fn poll_ready(&self) -> Mark {
        self.settings.routes.poll_ready()
    }

    /// What a request is marked with, and what its answer may teach.
    ///
    /// Not inlined: a small `call` is, and builds its future in place instead of moving it.
    #[inline(never)]
    pub(super) fn request(&self, head: RequestHead<'_>) -> (RequestMark, Option<Box<Learn>>) {
        let named = self.settings.namer.as_deref().and_then(|namer| self.named(head, namer));
        let (marker, learn) = match named {
            Some(marker) => (marker, None),
            None => self.marker(head),
        };
        let trace = match self.settings.tracer.as_deref() {
            Some(tracer) => traced(head, tracer),
            None => trace_id(head.headers),
        };
        (RequestMark::new(self.settings.routes.mark(marker), trace), learn)
    }

    #[inline(never)]
    fn named(&self, head: RequestHead<'_>, namer: &Namer) -> Option<u32> {
        let name = contained(|| namer(head))?;
        Some(self.settings.routes.marker(cache::NO_METHOD, &name))
    }

    #[inline]
    fn marker(&self, head: RequestHead<'_>) -> (u32, Option<Box<Learn>>) {
        if *head.method == Method::POST && grpc::is_grpc(head.headers) {
            return self.grpc(head);
        }
        (self.matched(head), None)
    }

    #[inline(never)]
    fn grpc(&self, head: RequestHead<'_>) -> (u32, Option<Box<Learn>>) {
        let routes = &self.settings.routes;
        if let Some(marker) = routes.known(cache::NO_METHOD, head.uri.path()) {
            return (marker, None);
        }
        let learn = (!routes.hub.markers.is_full())
            .then(|| Box::new(Learn::new(routes.clone(), head.uri.clone())));
        (self.matched(head), learn)
    }

    #[cfg(feature = "axum")]
    #[inline]
    fn matched(&self, head: RequestHead<'_>) -> u32 {
        let routes = &self.settings.routes;
        match head.extensions.get::<axum::extract::MatchedPath>() {
            Some(path) => self.usual.marker(routes, cache::method(head.method), path),
            None => {
                routes.hub.markers.count_unmatched();
                routes.unmatched
            }
        }
    }

    #[cfg(not(feature = "axum"))]
    fn matched(&self, _: RequestHead<'_>) -> u32 {
        self.settings.routes.unmatched
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

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}
