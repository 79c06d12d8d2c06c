//! LabelTable: the small numbers that slots carry, and the capped table of what they mean.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use crate::clock::Nanos;
use crate::label::{intern, printable};
use crate::slot::NO_LABEL;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering, lock};

/// The label of what comes after the last free one.
pub(crate) const OTHER: &str = "other";
/// The label of requests without a matched route.
pub(crate) const UNMATCHED: &str = "unmatched";
/// The label of readiness checks, which have no request.
pub(crate) const POLL_READY: &str = "poll_ready";

/// The label of what is not the program's doing.
pub(crate) const ENVIRONMENT: &str = "environment";
/// What has no label.
pub(crate) const UNATTRIBUTED: &str = "unattributed";

/// The shortest threshold of a detector or a layer.
pub(crate) const MIN_THRESHOLD: Duration = Duration::from_millis(1);

/// Labels of our own, which take no place from the user's.
const BUILT_IN: [&str; 5] = [OTHER, UNMATCHED, POLL_READY, UNATTRIBUTED, ENVIRONMENT];

/// Variants of one label (thresholds, kinds) are few; this bounds a program that makes up more.
const MOST_LABEL_IDS: usize = 4096;

/// One label can stand for several methods and layers.
const ROUTES_FOR_EACH_LABEL: usize = 4;

/// So many requests without a route, and none with one, are worth a warning.
const MANY_UNMATCHED: u32 = 1000;

/// What a poll counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum PollKind {
    /// A task on a worker.
    Task,
    /// The same, of a request that is counted in flight.
    Request,
    /// A root future: it counts without a worker too.
    Root,
    /// A block that is meant to be there.
    Allowed,
}

/// What a label stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct LabelSpec {
    pub(crate) label: &'static str,
    pub(crate) threshold: Nanos,
    pub(crate) kind: PollKind,
}

/// The labels of one detector.
#[derive(Debug)]
pub(crate) struct LabelTable {
    table: Mutex<Table>,
    /// Appended under the lock of `table`, read without it.
    routes: Box<[OnceLock<KnownRoute>]>,
    shortest: AtomicU64,
    most_labels: usize,
    /// Each task counts as a root.
    everywhere: bool,
    /// No label is free any more.
    full: AtomicBool,
    /// Requests without a route, as long as that says something.
    unmatched: AtomicU32,
}

#[derive(Debug, Default)]
struct Table {
    entries: Vec<LabelSpec>,
    numbers: HashMap<LabelSpec, u32>,
    labels: usize,
    routes: usize,
}

/// How a route is asked for: without making its label first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route<'a> {
    /// The label for `unmatched` of the same layer: it names threshold and kind.
    pub(crate) unmatched: u32,
    /// The label for `other` of the same layer.
    pub(crate) other: u32,
    /// A number for the prefix; the caller knows its text.
    pub(crate) method: u8,
    pub(crate) path: &'a str,
}

#[derive(Debug)]
struct KnownRoute {
    unmatched: u32,
    method: u8,
    path: &'static str,
    id: u32,
}

impl LabelTable {
    pub(crate) fn new(most_labels: usize, everywhere: bool) -> Self {
        let most_routes = most_labels.saturating_mul(ROUTES_FOR_EACH_LABEL).min(MOST_LABEL_IDS);
        Self {
            table: Mutex::default(),
            routes: (0..most_routes).map(|_| OnceLock::new()).collect(),
            shortest: AtomicU64::new(Nanos::MAX),
            most_labels,
            everywhere,
            full: AtomicBool::new(false),
            unmatched: AtomicU32::new(0),
        }
    }

    /// The number for a label; for `other` where the cap is reached.
    pub(crate) fn id(&self, label: &str, threshold: Nanos, kind: PollKind) -> u32 {
        lock(&self.table).id(self, label, threshold, kind)
    }

    /// Whether a route has a place of its own. Takes no lock and never makes one.
    pub(crate) fn known(&self, route: Route<'_>) -> Option<(u32, &'static str)> {
        let known = self.routes.iter().map_while(OnceLock::get).find(|known| {
            known.unmatched == route.unmatched
                && known.method == route.method
                && known.path == route.path
        })?;
        Some((known.id, known.path))
    }

    /// The number for a route that the calling thread has not met, and its path with a life of
    /// its own if it got a place. `prefix` and the path make the label.
    pub(crate) fn route(&self, route: Route<'_>, prefix: &str) -> (u32, Option<&'static str>) {
        if let Some((id, path)) = self.known(route) {
            return (id, Some(path));
        }
        if self.is_full() {
            return (route.other, None);
        }
        let mut table = lock(&self.table);
        if let Some((id, path)) = self.known(route) {
            return (id, Some(path));
        }
        let Some(LabelSpec { threshold, kind, .. }) = find(&table.entries, route.unmatched) else {
            return (route.other, None);
        };
        let separator = if prefix.is_empty() { "" } else { " " };
        let label = format!("{prefix}{separator}{}", route.path);
        let id = table.id(self, &label, threshold, kind);
        if id == route.other {
            return (id, None);
        }
        let Some(free) = self.routes.get(table.routes) else {
            return (id, None);
        };
        let path = intern(route.path);
        let known = KnownRoute { unmatched: route.unmatched, method: route.method, path, id };
        if free.set(known).is_ok() {
            table.routes += 1;
        }
        (id, Some(path))
    }

    /// Counts a request without a route, where a router tells routes, up to [`MANY_UNMATCHED`].
    #[cfg(feature = "axum")]
    #[inline]
    #[cfg_attr(not(feature = "axum"), allow(dead_code, reason = "for the feature `axum`"))]
    pub(crate) fn count_unmatched(&self) {
        if self.unmatched.load(Ordering::Relaxed) < MANY_UNMATCHED {
            self.unmatched.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Many requests came, and none had a route: the layer is in the wrong place. True once.
    pub(crate) fn all_unmatched(&self) -> bool {
        let many = self.unmatched.load(Ordering::Relaxed) == MANY_UNMATCHED;
        if many {
            self.unmatched.store(MANY_UNMATCHED + 1, Ordering::Relaxed);
        }
        many && lock(&self.table).labels == 0
    }

    /// No label is free any more: what is not known by now is `other`.
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Takes over what was added since `known` was last brought up to date.
    pub(crate) fn update(&self, known: &mut Vec<LabelSpec>) {
        let table = lock(&self.table);
        let new = table.entries.get(known.len()..).unwrap_or_default();
        known.extend_from_slice(new);
    }

    /// The shortest threshold of any label.
    pub(crate) fn shortest_threshold(&self) -> Nanos {
        self.shortest.load(Ordering::Relaxed)
    }
}

/// The entry a label stands for in a list kept by [`LabelTable::update`].
pub(crate) fn find(known: &[LabelSpec], id: u32) -> Option<LabelSpec> {
    known.get((id as usize).checked_sub(1)?).copied()
}

impl Table {
    fn id(&mut self, all: &LabelTable, label: &str, threshold: Nanos, kind: PollKind) -> u32 {
        let label = self.admit(all, &printable(label));
        let is_task = matches!(kind, PollKind::Task | PollKind::Request);
        let kind = if all.everywhere && is_task { PollKind::Root } else { kind };
        let id = LabelSpec { label, threshold, kind };
        if let Some(number) = self.numbers.get(&id) {
            return *number;
        }
        if self.entries.len() >= MOST_LABEL_IDS {
            return NO_LABEL;
        }
        self.entries.push(id);
        let number = self.entries.len() as u32;
        self.numbers.insert(id, number);
        all.shortest.fetch_min(threshold, Ordering::Relaxed);
        number
    }

    /// The text to use for a label: its own, or `other` past the cap. A label in use under
    /// another threshold or kind takes no further place.
    fn admit(&mut self, all: &LabelTable, label: &str) -> &'static str {
        let in_use = self.entries.iter().map(|entry| entry.label);
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
        known.iter().map(|id| id.label).collect()
    }

    fn route(labels: &LabelTable, path: &'static str) -> Route<'static> {
        let unmatched = labels.id(UNMATCHED, THRESHOLD, PollKind::Task);
        let other = labels.id(OTHER, THRESHOLD, PollKind::Task);
        Route { unmatched, other, method: 0, path }
    }

    #[test]
    fn equal_labels_share_a_number_and_other_thresholds_do_not() {
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
        let ask = |path| labels.route(route(&labels, path), "GET");
        let (a, b, c) = (ask("/a").0, ask("/b").0, ask("/c"));
        assert_eq!(c, (route(&labels, "").other, None), "a text past the cap is not kept");
        assert!(labels.is_full());
        assert_eq!(ask("/a"), (a, Some("/a")));
        assert_eq!(labels.known(route(&labels, "/b")), Some((b, "/b")));
        assert_eq!(labels.known(route(&labels, "/c")), None);
        assert_eq!(ask("/d"), c);
        assert_eq!(texts(&labels), [UNMATCHED, OTHER, "GET /a", "GET /b"]);
    }

    #[test]
    fn control_characters_do_not_become_labels() {
        let labels = LabelTable::new(2, false);
        labels.id("a\nb", THRESHOLD, PollKind::Task);
        assert_eq!(texts(&labels), ["a\\nb"]);
    }
}
