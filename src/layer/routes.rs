//! From routes to labels, for the services of one layer.

use std::sync::Arc;

use super::route_cache;
use crate::clock::Nanos;
use crate::labels::{OTHER, POLL_READY, PollKind, Route, UNMATCHED};
use crate::mark::Mark;
use crate::runtime::registry::{DetectorId, Registry};

/// The labels of one threshold.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    pub(super) registry: Arc<Registry>,
    detector: DetectorId,
    pub(super) unmatched: u32,
    other: u32,
    poll_ready: Mark,
}

impl Routes {
    pub(super) fn new(registry: Arc<Registry>, threshold: Nanos) -> Self {
        let label_id = |label| registry.labels.id(label, threshold, PollKind::Request);
        let (unmatched, other) = (label_id(UNMATCHED), label_id(OTHER));
        let detector = registry.id;
        let label_id = registry.labels.id(POLL_READY, threshold, PollKind::Task);
        Self { registry, detector, unmatched, other, poll_ready: Mark { detector, label_id } }
    }

    #[inline]
    pub(super) fn mark(&self, label_id: u32) -> Mark {
        Mark { detector: self.detector, label_id }
    }

    /// What readiness checks are marked with.
    #[inline]
    pub(super) fn poll_ready(&self) -> Mark {
        self.poll_ready
    }

    /// The label of a route; makes its label at the first request.
    #[inline]
    pub(super) fn label_id(&self, method: u8, path: &str) -> u32 {
        let route = self.ask(method, path);
        route_cache::find(self.detector, route).unwrap_or_else(|| self.label_in_table(route))
    }

    #[cold]
    fn label_in_table(&self, route: Route<'_>) -> u32 {
        let (label_id, path) = self.registry.labels.route(route, route_cache::prefix(route.method));
        if let Some(path) = path {
            route_cache::keep(self.detector, Route { path, ..route }, label_id);
        }
        label_id
    }

    /// The label of a route that has a label already.
    pub(super) fn known(&self, method: u8, path: &str) -> Option<u32> {
        let route = self.ask(method, path);
        route_cache::find(self.detector, route).or_else(|| {
            let (label_id, path) = self.registry.labels.known(route)?;
            route_cache::keep(self.detector, Route { path, ..route }, label_id);
            Some(label_id)
        })
    }

    fn ask<'a>(&self, method: u8, path: &'a str) -> Route<'a> {
        Route { unmatched: self.unmatched, other: self.other, method, path }
    }
}
