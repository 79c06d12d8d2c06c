//! From what the watchdog sees to counters and samples.

use std::collections::HashMap;

use super::sink::{SeriesKey, Sink};
use super::table::Metric;
use crate::clock::{Nanos, seconds};
use crate::label::{intern, printable};
use crate::labels::OTHER;
use crate::stall::{Cause, HandlerKey, HandlerTotals, LiveStall, StackOutcome, StallStore};

const SECOND: Nanos = 1_000_000_000;

/// How much of the store's sums is written.
#[derive(Debug, Default)]
struct FollowedStalls {
    /// What the store was like when each of the two was read last.
    handlers_version: u64,
    sites_version: u64,
    handlers: HashMap<HandlerKey, HandlerTotals>,
    sites: HashMap<SiteLabels, Nanos>,
    /// Sites with series of their own.
    known: HashMap<SiteLabels, SiteLabels>,
    most: usize,
}

/// Handler, function and cause.
type SiteLabels = [&'static str; 3];

/// Keeps what a series of whole numbers cannot show yet.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Parts of a second by series: the facade's counters are integers.
    rests: HashMap<SeriesKey, Nanos>,
    allowed: HashMap<&'static str, u64>,
    suppressed: u64,
    shed: u64,
    captures: [u64; StackOutcome::COUNT],
    stalls: FollowedStalls,
}

impl Counters {
    /// With at most so many series of sites.
    pub(crate) fn new(most_sites: usize) -> Self {
        Self {
            rests: HashMap::new(),
            allowed: HashMap::new(),
            suppressed: 0,
            shed: 0,
            captures: [0; StackOutcome::COUNT],
            stalls: FollowedStalls { most: most_sites, ..FollowedStalls::default() },
        }
    }

    /// Makes the series that are there from the start.
    pub(crate) fn open(sink: &mut dyn Sink) {
        for metric in [
            Metric::Scans,
            Metric::LateSeconds,
            Metric::LagSamplesLost,
            Metric::Shed,
            Metric::Suppressed,
        ] {
            sink.add(SeriesKey::new(metric, []), 0);
        }
    }

    /// Makes the series of a runtime that are there from its start.
    pub(crate) fn open_runtime(sink: &mut dyn Sink, runtime: &'static str) {
        for cause in Cause::ALL {
            sink.add(SeriesKey::new(Metric::FrozenSeconds, [runtime, cause.as_str()]), 0);
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

    pub(crate) fn frozen(
        &mut self,
        sink: &mut dyn Sink,
        runtime: &'static str,
        cause: Cause,
        time: Nanos,
    ) {
        self.add_time(sink, SeriesKey::new(Metric::FrozenSeconds, [runtime, cause.as_str()]), time);
    }

    /// Brings the counters of stalls by handler up to what the store sums up. Never waits: returns
    /// `false` where somebody else holds the store just now.
    pub(crate) fn follow_stalls(&mut self, sink: &mut dyn Sink, store: &StallStore) -> bool {
        let mut handlers = HashMap::new();
        let read = store.read_totals(&mut self.stalls.handlers_version, |totals| {
            handlers = totals.by_handler();
        });
        for (key, totals) in handlers {
            self.follow_handler(sink, key, totals);
        }
        read
    }

    /// The same for those by site. There may be a thousand of them: this is for now and then.
    pub(crate) fn follow_sites(&mut self, sink: &mut dyn Sink, store: &StallStore) -> bool {
        let mut sites = HashMap::new();
        let mut version = self.stalls.sites_version;
        let read = store.read_totals(&mut version, |totals| {
            for (key, time) in totals.site_times() {
                if !key.cause.is_environment() {
                    let function = key.site.as_ref().map_or("unknown", |site| &*site.function);
                    let labels = self.stalls.admit(key.handler, function, key.cause);
                    *sites.entry(labels).or_insert(0) += time;
                }
            }
        });
        self.stalls.sites_version = version;
        for (labels, time) in sites {
            let known = self.stalls.sites.insert(labels, time).unwrap_or(0);
            let key = SeriesKey::new(Metric::SiteSeconds, labels);
            self.add_time(sink, key, time.saturating_sub(known));
        }
        read
    }

    fn follow_handler(&mut self, sink: &mut dyn Sink, key: HandlerKey, totals: HandlerTotals) {
        let known = self.stalls.handlers.insert(key, totals).unwrap_or_default();
        if known == totals {
            return;
        }
        let labels = [key.runtime, key.handler, key.cause.as_str()];
        sink.add(
            SeriesKey::new(Metric::Stalls, labels),
            totals.stalls.saturating_sub(known.stalls),
        );
        let time = totals.time.saturating_sub(known.time);
        self.add_time(sink, SeriesKey::new(Metric::StalledSeconds, labels), time);
        if !key.cause.is_environment() {
            let delayed = totals.delayed.saturating_sub(known.delayed);
            sink.add(SeriesKey::new(Metric::DelayedRequests, [key.handler]), delayed);
        }
    }

    /// The sample of a stall that has ended.
    pub(crate) fn ended(sink: &mut dyn Sink, stall: &LiveStall) {
        let key = SeriesKey::new(Metric::StallDuration, [stall.runtime()]);
        sink.record(key, seconds(stall.lasted()));
    }

    pub(crate) fn busy(&mut self, sink: &mut dyn Sink, handler: &'static str, time: Nanos) {
        self.add_time(sink, SeriesKey::new(Metric::HandlerBusySeconds, [handler]), time);
    }

    /// So many scans, which began that much later than they should in all.
    pub(crate) fn scanned(&mut self, sink: &mut dyn Sink, scans: u64, late: Nanos) {
        sink.add(SeriesKey::new(Metric::Scans, []), scans);
        self.add_time(sink, SeriesKey::new(Metric::LateSeconds, []), late);
    }

    /// Brings the count of allowed blocks of that name up to `total`.
    pub(crate) fn allowed(&mut self, sink: &mut dyn Sink, name: &'static str, total: u64) {
        let known = self.allowed.entry(name).or_default();
        if total > *known {
            sink.add(SeriesKey::new(Metric::Allowed, [name]), total - *known);
            *known = total;
        }
    }

    /// Brings the counts of captures by outcome up to `totals`.
    pub(crate) fn captures(
        &mut self,
        sink: &mut dyn Sink,
        totals: [(&'static str, u64); StackOutcome::COUNT],
    ) {
        for (known, (outcome, total)) in self.captures.iter_mut().zip(totals) {
            if total > *known {
                sink.add(SeriesKey::new(Metric::Captures, [outcome]), total - *known);
                *known = total;
            }
        }
    }

    /// Makes the series of captures.
    pub(crate) fn open_captures(
        sink: &mut dyn Sink,
        outcomes: [&'static str; StackOutcome::COUNT],
    ) {
        for outcome in outcomes {
            sink.add(SeriesKey::new(Metric::Captures, [outcome]), 0);
        }
    }

    /// Brings the count of suppressed reports up to `total`.
    pub(crate) fn suppressed(&mut self, sink: &mut dyn Sink, total: u64) {
        follow(sink, Metric::Suppressed, &mut self.suppressed, total);
    }

    /// Brings the count of requests turned away up to `total`.
    pub(crate) fn shed(&mut self, sink: &mut dyn Sink, total: u64) {
        follow(sink, Metric::Shed, &mut self.shed, total);
    }

    /// Adds the whole seconds and keeps the rest; the series is there from the first call.
    fn add_time(&mut self, sink: &mut dyn Sink, key: SeriesKey, time: Nanos) {
        let rest = self.rests.entry(key).or_default();
        *rest = rest.saturating_add(time);
        sink.add(key, *rest / SECOND);
        *rest %= SECOND;
    }
}

impl FollowedStalls {
    /// The labels of a site: its own, or `other` past the cap.
    fn admit(&mut self, handler: &'static str, function: &str, cause: Cause) -> SiteLabels {
        let function = printable(function);
        let cause = cause.as_str();
        let known: &HashMap<[&str; 3], SiteLabels> = &self.known;
        if let Some(labels) = known.get(&[handler, &*function, cause]) {
            return *labels;
        }
        if self.known.len() >= self.most {
            return [OTHER, OTHER, cause];
        }
        let labels = [handler, intern(&function), cause];
        self.known.insert(labels, labels);
        labels
    }
}

fn follow(sink: &mut dyn Sink, metric: Metric, known: &mut u64, total: u64) {
    if total > *known {
        sink.add(SeriesKey::new(metric, []), total - *known);
        *known = total;
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
    fn seconds_are_whole_and_the_rest_is_carried() {
        let (mut counters, mut seen) = (Counters::new(64), Seen::default());
        let key = ("tokio_frozen_seconds_total", vec!["main", "unknown"]);
        let mut after = |time| {
            counters.frozen(&mut seen, "main", Cause::Unknown, time);
            seen.counters[&key]
        };
        assert_eq!([after(600 * MS), after(600 * MS), after(800 * MS)], [0, 1, 2]);
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
            let (time, delayed) = (count("tokio_stalled_seconds_total"), seen.counters[&delayed]);
            (time, delayed, seen.counters.get(&by_site).copied())
        };
        assert_eq!(follow(), (0, 0, None));
        entry.last(1_200 * MS);
        entry.delay(3);
        assert_eq!(follow(), (1, 3, None), "the site is not known yet");
        entry.set_stack_result(StackResult::default());
        entry.last(2_200 * MS);
        assert_eq!(follow(), (2, 3, Some(2)));
        entry.end(3_100 * MS, 0);
        assert_eq!([follow(), follow()], [(3, 3, Some(3)); 2], "once");
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
            seen.counters[&("tokio_stall_site_seconds_total", vec![handler, site, "unknown"])]
        };
        assert_eq!((time("GET /hello", "app::load"), time(OTHER, OTHER)), (2, 1));
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
        for total in [2, 2, 5] {
            counters.allowed(&mut seen, "migration", total);
            counters.suppressed(&mut seen, total);
            counters.shed(&mut seen, total);
        }
        assert_eq!(seen.counters[&("tower_stall_allowed_total", vec!["migration"])], 5);
        assert_eq!(seen.counters[&("tower_stall_reports_suppressed_total", vec![])], 5);
        assert_eq!(seen.counters[&("tower_stall_shed_total", vec![])], 5);
    }
}
