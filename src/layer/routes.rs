//! From routes to markers, for the services of one layer.

use std::sync::Arc;

use super::cache;
use crate::clock::Nanos;
use crate::detector::hub::{DetectorId, Hub};
use crate::detector::markers::{Kind, OTHER, POLL_READY, Route, UNMATCHED};
use crate::instrument::Mark;

/// The markers of one threshold.
#[derive(Clone, Debug)]
pub(super) struct Routes {
    pub(super) hub: Arc<Hub>,
    detector: DetectorId,
    pub(super) unmatched: u32,
    other: u32,
    poll_ready: Mark,
}

impl Routes {
    pub(super) fn new(hub: Arc<Hub>, threshold: Nanos) -> Self {
        let marker = |label| hub.markers.marker(label, threshold, Kind::Request);
        let (unmatched, other) = (marker(UNMATCHED), marker(OTHER));
        let detector = hub.id;
        let marker = hub.markers.marker(POLL_READY, threshold, Kind::Task);
        Self { hub, detector, unmatched, other, poll_ready: Mark { detector, marker } }
    }

    #[inline]
    pub(super) fn mark(&self, marker: u32) -> Mark {
        Mark { detector: self.detector, marker }
    }

    /// What readiness checks are marked with.
    #[inline]
    pub(super) fn poll_ready(&self) -> Mark {
        self.poll_ready
    }

    /// The marker of a route; makes its label at the first request.
    #[inline]
    pub(super) fn marker(&self, method: u8, path: &str) -> u32 {
        let route = self.ask(method, path);
        cache::find(self.detector, route).unwrap_or_else(|| self.marker_in_table(route))
    }

    #[cold]
    fn marker_in_table(&self, route: Route<'_>) -> u32 {
        let (marker, path) = self.hub.markers.route(route, cache::prefix(route.method));
        if let Some(path) = path {
            cache::keep(self.detector, Route { path, ..route }, marker);
        }
        marker
    }

    /// The marker of a route that has a label already.
    pub(super) fn known(&self, method: u8, path: &str) -> Option<u32> {
        let route = self.ask(method, path);
        cache::find(self.detector, route).or_else(|| {
            let (marker, path) = self.hub.markers.known(route)?;
            cache::keep(self.detector, Route { path, ..route }, marker);
            Some(marker)
        })
    }

    fn ask<'a>(&self, method: u8, path: &'a str) -> Route<'a> {
        Route { unmatched: self.unmatched, other: self.other, method, path }
    }
}
