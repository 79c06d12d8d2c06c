//! Counters and histograms, from the watchdog's events and from totals that are kept elsewhere.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::Ordering::Relaxed;

use super::sink::{SeriesKey, Sink};
use super::table::Metric;
use crate::clock::{Nanos, seconds};
use crate::label::{intern, printable};
use crate::labels::OTHER;
use crate::runtime::registry::Registry;
use crate::stall::{Cause, LiveStall, StackOutcome, StallStore};

/// Handler, function and cause.
type SiteLabels = [&'static str; 3];

/// Remembers what is written, since sinks take what is to be added.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// The last written value of totals that are kept elsewhere.
    written: HashMap<SeriesKey, u64>,
    /// The versions of the store's sums that were read last.
    handlers_version: u64,
    sites_version: u64,
    /// Sites with series of their own.
    sites: HashMap<SiteLabels, SiteLabels>,
    most_sites: usize,
}

impl Counters {
    /// `most_sites` limits the series of sites.
    pub(crate) fn new(most_sites: usize) -> Self {
        Self { most_sites, ..Self::default() }
    }

    /// Creates the series that are there from the start; those of stacks where stacks are taken.
    pub(crate) fn open(sink: &mut dyn Sink, stacks: bool) {
        for metric in [
            Metric::Scans,
            Metric::LagSamplesLost,
            Metric::Shed,
            Metric::AdminDropped,
            Metric::Panics,
            Metric::Suppressed,
        ] {
            sink.add(SeriesKey::new(metric, []), 0);
        }
        sink.add_time(SeriesKey::new(Metric::LateSeconds, []), 0);
        for outcome in StackOutcome::ALL.into_iter().filter(|_| stacks) {
            sink.add(SeriesKey::new(Metric::Captures, [outcome.as_str()]), 0);
        }
    }

    /// Creates the series of a runtime that are there from its start.
    pub(crate) fn open_runtime(sink: &mut dyn Sink, runtime: &'static str) {
        for cause in Cause::ALL {
            Self::frozen(sink, runtime, cause, 0);
        }
        sink.add(SeriesKey::new(Metric::Rescues, [runtime]), 0);
        sink.open(SeriesKey::new(Metric::Lag, [runtime]));
        sink.open(SeriesKey::new(Metric::StallDuration, [runtime]));
    }

    pub(crate) fn lag(sink: &mut dyn Sink, runtime: &'static str, lag: Nanos) {
        sink.record(SeriesKey::new(Metric::Lag, [runtime]), seconds(lag));
    }

    pub(crate) fn rescued(sink: &mut dyn Sink, runtime: &'static str) {
        sink.add(SeriesKey::new(Metric::Rescues, [runtime]), 1);
    }

    pub(crate) fn lags_lost(sink: &mut dyn Sink, count: u64) {
        sink.add(SeriesKey::new(Metric::LagSamplesLost, []), count);
    }

    pub(crate) fn frozen(sink: &mut dyn Sink, runtime: &'static str, cause: Cause, time: Nanos) {
        sink.add_time(SeriesKey::new(Metric::FrozenSeconds, [runtime, cause.as_str()]), time);
    }

    /// Records the duration of a stall that has ended.
    pub(crate) fn ended(sink: &mut dyn Sink, stall: &LiveStall) {
        let key = SeriesKey::new(Metric::StallDuration, [stall.runtime()]);
        sink.record(key, seconds(stall.lasted()));
    }

    pub(crate) fn busy(sink: &mut dyn Sink, handler: &'static str, time: Nanos) {
        sink.add_time(SeriesKey::new(Metric::HandlerBusySeconds, [handler]), time);
    }

    /// Counts scans, and how late they began in all.
    pub(crate) fn scanned(sink: &mut dyn Sink, scans: u64, late: Nanos) {
        sink.add(SeriesKey::new(Metric::Scans, []), scans);
        sink.add_time(SeriesKey::new(Metric::LateSeconds, []), late);
    }

    /// Follows the totals of the reporter, the layers and the sampler.
    pub(crate) fn follow_registry(&mut self, sink: &mut dyn Sink, registry: &Registry) {
        let suppressed = registry.suppressed.load(Relaxed);
        self.follow(sink, SeriesKey::new(Metric::Suppressed, []), suppressed);
        self.follow(sink, SeriesKey::new(Metric::Shed, []), registry.shed.load(Relaxed));
        let dropped = registry.admin_dropped.load(Relaxed);
        self.follow(sink, SeriesKey::new(Metric::AdminDropped, []), dropped);
        for outcome in StackOutcome::ALL {
            let total = registry.captures[outcome as usize].load(Relaxed);
            // Where no stacks are taken there is no series.
            if total > 0 {
                self.follow(sink, SeriesKey::new(Metric::Captures, [outcome.as_str()]), total);
            }
        }
        self.follow(sink, SeriesKey::new(Metric::Panics, []), registry.vitals.all_panics());
        registry.allowed_blocks.each(|name, total| {
            self.follow(sink, SeriesKey::new(Metric::Allowed, [name]), total);
        });
    }

    /// Follows the store's sums by handler. Never waits: returns `false` if the store is locked.
    pub(crate) fn follow_stalls(&mut self, sink: &mut dyn Sink, store: &StallStore) -> bool {
        let mut handlers = HashMap::new();
        let read = store.read_totals(&mut self.handlers_version, |totals| {
            handlers = totals.by_handler();
        });
        let mut delayed: HashMap<_, u64> = HashMap::new();
        for (key, totals) in handlers {
            let labels = [key.runtime, key.handler, key.cause.as_str()];
            self.follow(sink, SeriesKey::new(Metric::Stalls, labels), totals.stalls);
            self.follow_time(sink, SeriesKey::new(Metric::StalledSeconds, labels), totals.time);
            if !key.cause.is_environment() {
                let sum = delayed.entry(key.handler).or_default();
                *sum = sum.saturating_add(totals.delayed);
            }
        }
        for (handler, requests) in delayed {
            self.follow(sink, SeriesKey::new(Metric::DelayedRequests, [handler]), requests);
        }
        read
    }

    /// Follows the sums by site in the same way. There may be a thousand, so do not call it each scan.
    pub(crate) fn follow_sites(&mut self, sink: &mut dyn Sink, store: &StallStore) -> bool {
        let mut sites: HashMap<_, Nanos> = HashMap::new();
        let mut version = self.sites_version;
        let read = store.read_totals(&mut version, |totals| {
            for (key, time) in totals.site_times() {
                if !key.cause.is_environment() {
                    let function = key.site.as_ref().map_or("unknown", |site| &*site.function);
                    let labels = self.admit_site(key.handler, function, key.cause);
                    *sites.entry(labels).or_default() += time;
                }
            }
        });
        self.sites_version = version;
        for (labels, time) in sites {
            self.follow_time(sink, SeriesKey::new(Metric::SiteSeconds, labels), time);
        }
        read
    }

    /// The labels of a site: its own, or `other` past the cap.
    fn admit_site(&mut self, handler: &'static str, function: &str, cause: Cause) -> SiteLabels {
        let (function, cause) = (printable(function), cause.as_str());
        let known: &HashMap<[&str; 3], SiteLabels> = &self.sites;
        if let Some(labels) = known.get(&[handler, &*function, cause]) {
            return *labels;
        }
        if self.sites.len() >= self.most_sites {
            return [OTHER, OTHER, cause];
        }
        let labels = [handler, intern(&function), cause];
        self.sites.insert(labels, labels);
        labels
    }

    /// Raises a counter to `total`. The first call creates the series.
    fn follow(&mut self, sink: &mut dyn Sink, key: SeriesKey, total: u64) {
        if let Some(count) = self.grown(key, total) {
            sink.add(key, count);
        }
    }

    /// The same for a counter of seconds.
    fn follow_time(&mut self, sink: &mut dyn Sink, key: SeriesKey, total: Nanos) {
        if let Some(time) = self.grown(key, total) {
            sink.add_time(key, time);
        }
    }

    /// How much a total has grown since it was written; `None` if not at all. One that was not written yet
    /// may have grown by 0.
    fn grown(&mut self, key: SeriesKey, total: u64) -> Option<u64> {
        match self.written.entry(key) {
            Entry::Vacant(written) => Some(*written.insert(total)),
            Entry::Occupied(mut written) => {
                let grown = total.checked_sub(*written.get()).filter(|grown| *grown > 0)?;
                written.insert(total);
                Some(grown)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::metrics::sink::tests::Seen;
    use crate::stall::tests::stall;
    use crate::stall::{Site, StackResult, Stall};

    const MS: Nanos = 1_000_000;

    #[test]
    fn a_total_that_shrinks_is_not_counted_twice() {
        let (mut counters, mut seen) = (Counters::new(64), Seen::default());
        let key = SeriesKey::new(Metric::Shed, []);
        let mut after = |total| {
            counters.follow(&mut seen, key, total);
            seen.counters[&("tower_stall_shed_total", vec![])]
        };
        assert_eq!([after(0), after(7), after(5), after(7), after(8)], [0, 7, 7, 7, 8]);
    }

    /// A stall in the store.
    fn add(store: &StallStore, stall: Stall, site: Option<&str>) -> Arc<LiveStall> {
        let entry = Arc::new(LiveStall::new(stall));
        if let Some(function) = site {
            let site = Site { function: function.into(), file: None, line: None };
            entry.set_stack_result(StackResult { site: Some(site), ..StackResult::default() });
        }
        store.take_over(&mut vec![Arc::clone(&entry)]);
        entry
    }

    #[test]
    fn a_stall_has_its_series_from_the_start_and_grows_while_it_lasts() {
        let (mut counters, mut seen) = (Counters::new(64), Seen::default());
        let store = StallStore::new(8);
        let entry = add(&store, stall(1), None);
        let labels = vec!["main", "GET /hello", "unknown"];
        let by_site = ("tokio_stall_site_seconds_total", vec!["GET /hello", "unknown", "unknown"]);
        let mut follow = || {
            store.take_over(&mut Vec::new());
            assert!(counters.follow_stalls(&mut seen, &store));
            assert!(counters.follow_sites(&mut seen, &store));
            let count = |name| seen.counters[&(name, labels.clone())];
            assert_eq!(count("tokio_stalls_total"), 1);
            let delayed = ("tokio_stall_delayed_requests_total", vec!["GET /hello"]);
            let time = seen.times[&("tokio_stalled_seconds_total", labels.clone())];
            let of_site = seen.times.get(&by_site).map(|time| time / MS);
            (time / MS, seen.counters[&delayed], of_site)
        };
        assert_eq!(follow(), (100, 0, None), "what it has lasted when it was counted");
        entry.last(1_200 * MS);
        entry.delay(3);
        assert_eq!(follow(), (1_200, 3, None), "the site is not known yet");
        entry.set_stack_result(StackResult::default());
        entry.last(2_200 * MS);
        assert_eq!(follow(), (2_200, 3, Some(2_200)));
        entry.end(3_100 * MS, 0);
        assert_eq!([follow(), follow()], [(3_100, 3, Some(3_100)); 2], "once");
    }

    #[test]
    fn pairs_past_the_cap_count_for_other() {
        const MOST_PAIRS: usize = 256;
        let (mut counters, mut seen) = (Counters::new(64), Seen::default());
        let store = StallStore::new(8);
        for number in 0..MOST_PAIRS + 5 {
            let handler = intern(&format!("handler {number}"));
            add(&store, Stall { handler: handler.into(), ..stall(number as u64) }, None);
        }
        add(&store, Stall { handler: "handler 0".into(), ..stall(999) }, None);
        assert!(counters.follow_stalls(&mut seen, &store));
        let count =
            |handler| seen.counters[&("tokio_stalls_total", vec!["main", handler, "unknown"])];
        assert_eq!((count(OTHER), count("handler 0")), (5, 2));
    }

    #[test]
    fn sites_past_the_cap_count_for_other() {
        let (mut counters, mut seen) = (Counters::new(1), Seen::default());
        let store = StallStore::new(8);
        for (id, site) in [(1, "app::load"), (2, "app::save"), (3, "app::load")] {
            add(&store, stall(id), Some(site)).end(1_000 * MS, 0);
            store.take_over(&mut Vec::new());
            assert!(counters.follow_sites(&mut seen, &store));
        }
        let time = |handler, site| {
            seen.times[&("tokio_stall_site_seconds_total", vec![handler, site, "unknown"])]
        };
        let times = (time("GET /hello", "app::load"), time(OTHER, OTHER));
        assert_eq!(times, (2_000 * MS, 1_000 * MS));
    }

    #[test]
    fn a_reader_in_the_way_is_not_waited_for() {
        let (mut counters, mut seen) = (Counters::new(1), Seen::default());
        let store = StallStore::new(8);
        add(&store, stall(1), None);
        let mut other = 0;
        store.read_totals(&mut other, |_| {
            assert!(!counters.follow_stalls(&mut seen, &store));
            assert!(!counters.follow_sites(&mut seen, &store));
        });
        assert!(seen.counters.is_empty());
        assert!(counters.follow_stalls(&mut seen, &store) && !seen.counters.is_empty());
    }

    #[test]
    fn totals_of_others_are_followed() {
        let (mut counters, mut seen) = (Counters::new(64), Seen::default());
        let registry = Registry::new(crate::runtime::registry::LIMITS);
        for total in [2, 2, 5] {
            registry.suppressed.store(total, Relaxed);
            registry.shed.store(total, Relaxed);
            registry.captures[StackOutcome::Partial as usize].store(total, Relaxed);
            registry.allowed_blocks.count("migration");
            counters.follow_registry(&mut seen, &registry);
        }
        assert_eq!(seen.counters[&("tower_stall_allowed_total", vec!["migration"])], 3);
        assert_eq!(seen.counters[&("tower_stall_reports_suppressed_total", vec![])], 5);
        assert_eq!(seen.counters[&("tower_stall_shed_total", vec![])], 5);
        assert_eq!(seen.counters[&("tower_stall_captures_total", vec!["partial"])], 5);
        assert!(!seen.counters.contains_key(&("tower_stall_captures_total", vec!["ok"])));
    }
}
