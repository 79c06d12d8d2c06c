//! The labels of a detector: what a [`LabelId`] in a slot stands for, and which route has which.
//!
//! The table is capped, and written under a lock. The label of a known route is read without.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::clock::Nanos;
use crate::label::{intern, printable};
use crate::slot::LabelId;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering, lock};

/// The label that stands for all labels past the cap.
pub(crate) const OTHER: &str = "other";
/// The label of requests without a matched route.
pub(crate) const UNMATCHED: &str = "unmatched";
/// The label of readiness checks, which have no request.
pub(crate) const POLL_READY: &str = "poll_ready";

/// The handler of stalls that the environment caused.
pub(crate) const ENVIRONMENT: &str = "environment";
/// The handler of stalls of tasks without a label.
pub(crate) const UNATTRIBUTED: &str = "unattributed";

/// The shortest threshold of a detector or a layer.
pub(crate) const MIN_THRESHOLD: Duration = Duration::from_millis(1);

/// Built-in labels. They do not count towards the cap.
const BUILT_IN: [&str; 5] = [OTHER, UNMATCHED, POLL_READY, UNATTRIBUTED, ENVIRONMENT];

/// Bounds the variants (thresholds, kinds) of labels. A usual program has few.
const MOST_LABEL_IDS: usize = 4096;

/// One label can stand for several methods and layers.
const ROUTES_FOR_EACH_LABEL: usize = 4;

/// After this many requests without a route, and none with one, a warning is logged.
const MANY_UNMATCHED: u32 = 1000;

/// What kind of code a poll runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PollKind {
    /// A task on a worker.
    Task,
    /// The same, of a request that is counted in flight.
    Request,
    /// A root future: it counts without a worker too.
    Root,
    /// A block that `allow_blocking` runs.
    Allowed,
}

/// What a label stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LabelSpec {
    pub(crate) label: &'static str,
    pub(crate) threshold: Nanos,
    pub(crate) kind: PollKind,
}

/// The labels of one detector.
#[derive(Debug)]
pub(crate) struct LabelTable {
    table: Mutex<Table>,
    /// A hash table with linear probing. Written under the lock of `table`, read without it: a
    /// place once taken never changes, and the free one where a search ends proves a miss.
    routes: Box<[OnceLock<KnownRoute>]>,
    most_routes: usize,
    shortest: AtomicU64,
    most_labels: usize,
    /// For tests: tasks count on threads without a worker too.
    everywhere: bool,
    /// The cap is reached.
    full: AtomicBool,
    /// Requests without a route, up to `MANY_UNMATCHED`.
    unmatched: AtomicU32,
}

#[derive(Debug, Default)]
struct Table {
    /// The label with the id `n` is at `n - 1`.
    specs: Vec<LabelSpec>,
    labels: usize,
    routes: usize,
}

/// The key of a route, without the text of its label.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<'a> {
    /// The label for `unmatched` of the same layer: it names threshold and kind.
    pub(crate) unmatched: LabelId,
    /// The label for `other` of the same layer.
    pub(crate) other: LabelId,
    /// A number for the prefix; the caller knows its text.
    pub(crate) method: u8,
    pub(crate) path: &'a str,
}

#[derive(Debug)]
struct KnownRoute {
    unmatched: LabelId,
    method: u8,
    path: Box<str>,
    id: LabelId,
}

impl KnownRoute {
    #[inline]
    fn is(&self, route: Route<'_>) -> bool {
        self.unmatched == route.unmatched
            && self.method == route.method
            && *self.path == *route.path
    }
}

impl Route<'_> {
    /// Takes eight bytes at a time; good enough for a few dozen routes.
    #[inline]
    fn hash(self) -> usize {
        let seed = (u64::from(self.unmatched.0) << 8) | u64::from(self.method);
        let path = self.path.as_bytes();
        let mut hash = (seed ^ path.len() as u64).wrapping_mul(MIX);
        let mut mix = |word: u64| hash = (hash.rotate_left(23) ^ word).wrapping_mul(MIX);
        for chunk in path.chunks_exact(8) {
            mix(chunk.try_into().map_or(0, u64::from_le_bytes));
        }
        // The last eight, some of them again; of a shorter path all.
        match path.last_chunk::<8>() {
            Some(last) => mix(u64::from_le_bytes(*last)),
            None => mix(path.iter().fold(0, |rest, byte| (rest << 8) | u64::from(*byte))),
        }
        (hash >> 32) as usize
    }
}

/// 2⁶⁴ divided by the golden ratio: the multiplier of Fibonacci hashing.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes a number, such as an address.
#[cfg(feature = "axum")]
#[inline]
pub(crate) fn scatter(number: u64) -> usize {
    (number.wrapping_mul(MIX) >> 32) as usize
}

impl LabelTable {
    pub(crate) fn new(most_labels: usize, everywhere: bool) -> Self {
        let most_routes = most_labels.saturating_mul(ROUTES_FOR_EACH_LABEL).min(MOST_LABEL_IDS);
        Self {
            table: Mutex::default(),
            // At most two thirds full, so that searches are short.
            routes: (0..(most_routes * 3).div_ceil(2).next_power_of_two())
                .map(|_| OnceLock::new())
                .collect(),
            most_routes,
            shortest: AtomicU64::new(Nanos::MAX),
            most_labels,
            everywhere,
            full: AtomicBool::new(false),
            unmatched: AtomicU32::new(0),
        }
    }

    /// The id of a label; of `other` where the cap is reached.
    pub(crate) fn id(&self, label: &str, threshold: Nanos, kind: PollKind) -> LabelId {
        lock(&self.table).id(self, label, threshold, kind)
    }

    /// The label of a route that has one already. Takes no lock and never makes one.
    #[inline]
    pub(crate) fn of_known_route(&self, route: Route<'_>) -> Option<LabelId> {
        self.find_route(route).ok()
    }

    /// The label of a route, made if the route is new; `prefix` and the path are its text.
    pub(crate) fn of_route(&self, route: Route<'_>, prefix: &str) -> LabelId {
        self.of_known_route(route).unwrap_or_else(|| self.add_route(route, prefix))
    }

    #[cold]
    fn add_route(&self, route: Route<'_>, prefix: &str) -> LabelId {
        if self.is_full() {
            return route.other;
        }
        let mut table = lock(&self.table);
        // Another thread may have added it meanwhile.
        let free = match self.find_route(route) {
            Ok(id) => return id,
            Err(free) => free,
        };
        let Some(LabelSpec { threshold, kind, .. }) = find(&table.specs, route.unmatched) else {
            return route.other;
        };
        let separator = if prefix.is_empty() { "" } else { " " };
        let label = format!("{prefix}{separator}{}", route.path);
        let id = table.id(self, &label, threshold, kind);
        if id != route.other && table.routes < self.most_routes {
            let Route { unmatched, method, path, .. } = route;
            let known = KnownRoute { unmatched, method, path: path.into(), id };
            if self.routes[free].set(known).is_ok() {
                table.routes += 1;
            }
        }
        id
    }

    /// The label of a known route, or the free place where a new one belongs.
    #[inline]
    fn find_route(&self, route: Route<'_>) -> Result<LabelId, usize> {
        let last = self.routes.len() - 1;
        let mut at = route.hash() & last;
        while let Some(known) = self.routes[at].get() {
            if known.is(route) {
                return Ok(known.id);
            }
            at = (at + 1) & last;
        }
        Err(at)
    }

    /// Counts a request without a route, where a router tells routes, up to [`MANY_UNMATCHED`].
    #[cfg(feature = "axum")]
    #[inline]
    pub(crate) fn count_unmatched(&self) {
        if self.unmatched.load(Ordering::Relaxed) < MANY_UNMATCHED {
            self.unmatched.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether many requests came and none had a route: the layer is in the wrong place. True once.
    pub(crate) fn all_unmatched(&self) -> bool {
        let many = self.unmatched.load(Ordering::Relaxed) == MANY_UNMATCHED;
        if many {
            self.unmatched.store(MANY_UNMATCHED + 1, Ordering::Relaxed);
        }
        many && lock(&self.table).labels == 0
    }

    /// Whether the cap is reached: new labels are `other`.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Takes over what was added since `known` was last brought up to date.
    pub(crate) fn update(&self, known: &mut Vec<LabelSpec>) {
        let table = lock(&self.table);
        let new = table.specs.get(known.len()..).unwrap_or_default();
        known.extend_from_slice(new);
    }

    /// The shortest threshold of any label.
    pub(crate) fn shortest_threshold(&self) -> Nanos {
        self.shortest.load(Ordering::Relaxed)
    }
}

/// What a label stands for, in a list kept by [`LabelTable::update`].
pub(crate) fn find(known: &[LabelSpec], id: LabelId) -> Option<LabelSpec> {
    known.get((id.0 as usize).checked_sub(1)?).copied()
}

impl Table {
    fn id(&mut self, all: &LabelTable, label: &str, threshold: Nanos, kind: PollKind) -> LabelId {
        let label = self.admit(all, &printable(label));
        let is_task = matches!(kind, PollKind::Task | PollKind::Request);
        let kind = if all.everywhere && is_task { PollKind::Root } else { kind };
        let spec = LabelSpec { label, threshold, kind };
        let known = self.specs.iter().position(|known| *known == spec);
        let place = known.unwrap_or(self.specs.len());
        if place >= MOST_LABEL_IDS {
            return LabelId::NONE;
        }
        if known.is_none() {
            self.specs.push(spec);
            all.shortest.fetch_min(threshold, Ordering::Relaxed);
        }
        LabelId(place as u32 + 1)
    }

    /// The text to use for a label: its own, or `other` past the cap. A label in use under
    /// another threshold or kind takes no further place.
    fn admit(&mut self, all: &LabelTable, label: &str) -> &'static str {
        let in_use = self.specs.iter().map(|spec| spec.label);
        if let Some(known) = BUILT_IN.into_iter().chain(in_use).find(|known| *known == label) {
            return known;
        }
        if self.labels >= all.most_labels {
            all.full.store(true, Ordering::Relaxed);
            return OTHER;
        }
        self.labels += 1;
        intern(label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: Nanos = 100_000_000;

    fn texts(labels: &LabelTable) -> Vec<&'static str> {
        let mut known = Vec::new();
        labels.update(&mut known);
        known.iter().map(|spec| spec.label).collect()
    }

    fn route(labels: &LabelTable, path: &'static str) -> Route<'static> {
        let unmatched = labels.id(UNMATCHED, THRESHOLD, PollKind::Task);
        let other = labels.id(OTHER, THRESHOLD, PollKind::Task);
        Route { unmatched, other, method: 0, path }
    }

    #[test]
    fn equal_labels_share_an_id_and_other_thresholds_do_not() {
        let labels = LabelTable::new(8, false);
        let first = labels.id("job", THRESHOLD, PollKind::Task);
        assert_eq!(labels.id("job", THRESHOLD, PollKind::Task), first);
        assert_ne!(labels.id("job", 5_000_000, PollKind::Task), first);
        assert_eq!(labels.shortest_threshold(), 5_000_000);
    }

    #[test]
    fn labels_past_the_cap_are_other_and_built_in_ones_are_not_counted() {
        let labels = LabelTable::new(2, false);
        for label in [UNMATCHED, POLL_READY, "a", "b", "c", "d", "a"] {
            labels.id(label, THRESHOLD, PollKind::Task);
        }
        assert_eq!(texts(&labels), [UNMATCHED, POLL_READY, "a", "b", OTHER]);
    }

    #[test]
    fn known_routes_keep_their_labels_when_no_label_is_free() {
        let labels = LabelTable::new(2, false);
        let ask = |path| labels.of_route(route(&labels, path), "GET");
        let (a, b, c) = (ask("/a"), ask("/b"), ask("/c"));
        assert_eq!(c, route(&labels, "").other);
        assert!(labels.is_full());
        assert_eq!(ask("/a"), a);
        assert_eq!(labels.of_known_route(route(&labels, "/b")), Some(b));
        assert_eq!(labels.of_known_route(route(&labels, "/c")), None, "past the cap");
        assert_eq!(ask("/d"), c);
        assert_eq!(texts(&labels), [UNMATCHED, OTHER, "GET /a", "GET /b"]);
    }

    #[test]
    fn routes_differ_by_layer_method_and_path() {
        let labels = LabelTable::new(8, false);
        let users = route(&labels, "/users/{id}");
        let id = labels.of_route(users, "GET");
        assert_eq!(labels.of_known_route(users), Some(id));
        assert_eq!(labels.of_known_route(Route { method: 1, ..users }), None);
        assert_eq!(labels.of_known_route(Route { unmatched: LabelId(9), ..users }), None);
        assert_eq!(labels.of_known_route(Route { path: "/users", ..users }), None);
    }

    #[test]
    fn all_places_for_routes_can_be_taken_and_unknown_ones_still_miss() {
        let labels = LabelTable::new(64, false);
        let paths: Vec<_> = (0..64).map(|number| format!("/api/resource-{number}")).collect();
        let any = route(&labels, "");
        let with = |method, path| Route { method, path, ..any };
        for (method, path) in (0..6).flat_map(|method| paths.iter().map(move |it| (method, it))) {
            // One label, so that the places run out and not the labels.
            let id = labels.of_route(with(method, path), "GET");
            let known = usize::from(method) < ROUTES_FOR_EACH_LABEL;
            let expected = known.then_some(id);
            assert_eq!(labels.of_known_route(with(method, path)), expected, "{method} {path}");
        }
    }

    #[test]
    fn routes_of_a_service_scatter() {
        let route = |path| Route { unmatched: LabelId(1), other: LabelId(2), method: 0, path };
        let paths: Vec<_> =
            (0..64).map(|number| format!("/api/v1/resource-{number}/{{id}}")).collect();
        let places: std::collections::HashSet<_> =
            paths.iter().map(|path| route(path).hash() % 256).collect();
        assert!(places.len() > 48, "{} places for 64 routes", places.len());
    }

    #[test]
    fn control_characters_do_not_become_labels() {
        let labels = LabelTable::new(2, false);
        labels.id("a\nb", THRESHOLD, PollKind::Task);
        assert_eq!(texts(&labels), ["a\\nb"]);
    }
}
