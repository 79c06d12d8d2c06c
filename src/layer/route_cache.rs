//! Each thread's own memory of routes, so that a request finds its label without a lock.

use std::cell::Cell;

#[cfg(feature = "axum")]
use http::Method;

use crate::labels::Route;
use crate::runtime::registry::DetectorId;

/// A power of two, some times the number of a service's busy routes.
const PLACES: usize = 256;

/// Prefixes of labels, by number; the last stands for none.
const METHODS: [&str; 11] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "PATCH", "TRACE", "_OTHER", ""];
/// For labels that are only a path or a name.
pub(super) const NO_METHOD: u8 = 10;
#[cfg(feature = "axum")]
const OTHER_METHOD: u8 = 9;

/// The number of a method; all that are not standard share one.
#[cfg(feature = "axum")]
#[inline]
#[cfg_attr(not(feature = "axum"), allow(dead_code, reason = "for the feature `axum`"))]
pub(super) fn method(method: &Method) -> u8 {
    match *method {
        Method::GET => 0,
        Method::POST => 1,
        Method::PUT => 2,
        Method::DELETE => 3,
        Method::HEAD => 4,
        Method::OPTIONS => 5,
        Method::CONNECT => 6,
        Method::PATCH => 7,
        Method::TRACE => 8,
        _ => OTHER_METHOD,
    }
}

/// What a label of that method begins with.
pub(super) fn prefix(method: u8) -> &'static str {
    METHODS[usize::from(method)]
}

#[derive(Clone, Copy)]
struct KnownRoute {
    detector: DetectorId,
    route: Route<'static>,
    label_id: u32,
}

thread_local! {
    static KNOWN: [Cell<Option<KnownRoute>>; PLACES] = const { [const { Cell::new(None) }; PLACES] };
}

/// The label of a route this thread has met.
#[inline]
pub(super) fn find(detector: DetectorId, route: Route<'_>) -> Option<u32> {
    KNOWN.with(|known| known[place(route)].get()).and_then(|known| {
        let same = known.detector == detector
            && known.route.unmatched == route.unmatched
            && known.route.method == route.method
            && known.route.path == route.path;
        same.then_some(known.label_id)
    })
}

/// Remembers it, in place of another that falls on the same place.
pub(super) fn keep(detector: DetectorId, route: Route<'static>, label_id: u32) {
    KNOWN.with(|known| known[place(route)].set(Some(KnownRoute { detector, route, label_id })));
}

/// An odd number near the golden ratio of 2⁶⁴: multiplying by it scatters.
pub(super) const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Eight bytes at a time; good enough to scatter a few dozen routes.
#[inline]
fn place(route: Route<'_>) -> usize {
    let seed = (u64::from(route.unmatched) << 8) | u64::from(route.method);
    let mut hash = (seed ^ route.path.len() as u64).wrapping_mul(MIX);
    let path = route.path.as_bytes();
    let mut mix = |word: u64| hash = (hash.rotate_left(23) ^ word).wrapping_mul(MIX);
    for chunk in path.chunks_exact(8) {
        mix(chunk.try_into().map_or(0, u64::from_le_bytes));
    }
    // The last eight, some of them again; of a shorter path all.
    match path.last_chunk::<8>() {
        Some(last) => mix(u64::from_le_bytes(*last)),
        None => mix(path.iter().fold(0, |rest, byte| (rest << 8) | u64::from(*byte))),
    }
    (hash >> 32) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: u8, path: &'static str) -> Route<'static> {
        Route { unmatched: 1, other: 2, method, path }
    }

    #[test]
    fn what_is_kept_is_found_and_nothing_else() {
        keep(7, route(0, "/users/{id}"), 3);
        assert_eq!(find(7, route(0, "/users/{id}")), Some(3));
        assert_eq!(find(8, route(0, "/users/{id}")), None, "another detector");
        assert_eq!(find(7, route(1, "/users/{id}")), None, "another method");
        assert_eq!(find(7, Route { unmatched: 9, ..route(0, "/users/{id}") }), None);
    }

    #[test]
    fn routes_of_a_service_scatter() {
        let paths: Vec<_> =
            (0..64).map(|number| format!("/api/v1/resource-{number}/{{id}}")).collect();
        let places: std::collections::HashSet<_> = paths
            .iter()
            .map(|path| place(Route { unmatched: 1, other: 2, method: 0, path }))
            .collect();
        assert!(places.len() > 48, "{} places for 64 routes", places.len());
    }

    #[cfg(feature = "axum")]
    #[test]
    fn made_up_methods_share_a_number() {
        let made_up = Method::from_bytes(b"FOO1").expect("a token");
        assert_eq!(prefix(method(&made_up)), "_OTHER");
        assert_eq!(prefix(method(&Method::PATCH)), "PATCH");
        assert_eq!(prefix(NO_METHOD), "");
    }
}
