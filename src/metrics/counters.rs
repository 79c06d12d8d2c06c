//! From what the watchdog sees to counters and samples.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::sink::{SeriesKey, Sink};
use super::sites::Sites;
use super::table::Metric;
use crate::clock::{Nanos, seconds};
use crate::labels::OTHER;
use crate::stall::LiveStall;
use crate::stall::{Cause, Stall};

/// Pairs of handler and cause that have series of their own; further ones count for the handler
/// `other`.
const MOST_PAIRS: usize = 256;

const SECOND: Nanos = 1_000_000_000;

/// Keeps what a series of whole numbers cannot show yet.
#[derive(Debug)]
pub(crate) struct Counters {
    /// Parts of a second by series: the facade's counters are integers.
    rests: HashMap<SeriesKey, Nanos>,
    pairs: HashSet<(&'static str, Cause)>,
    allowed: HashMap<&'static str, u64>,
    suppressed: u64,
    shed: u64,
    captures: [u64; 5],
    sites: Sites,
}

impl Counters {
    /// With at most so many series of sites.
    pub(crate) fn new(most_sites: usize) -> Self {
        Self {
            rests: HashMap::new(),
            pairs: HashSet::new(),
            allowed: HashMap::new(),
            suppressed: 0,
            shed: 0,
            captures: [0; 5],
            sites: Sites::new(most_sites),
        }
    }

    /// Makes the series that are there from the start.
    pub(crate) fn open(sink: &mut dyn Sink) {
        for metric in [
            Metric::ScanBarrier,
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

    pub(crate) fn counted(&mut self, sink: &mut dyn Sink, stall: &Stall) {
        let labels = self.labels(stall);
        sink.add(SeriesKey::new(Metric::Stalls, labels), 1);
        sink.add(SeriesKey::new(Metric::StalledSeconds, labels), 0);
        if !stall.cause.is_environment() {
            sink.add(SeriesKey::new(Metric::DelayedRequests, [labels[1]]), 0);
        }
    }

    pub(crate) fn delayed(&mut self, sink: &mut dyn Sink, entry: &LiveStall, requests: u64) {
        let [_, handler, _] = self.labels(&entry.stall());
        sink.add(SeriesKey::new(Metric::DelayedRequests, [handler]), requests);
    }

    pub(crate) fn stalled(&mut self, sink: &mut dyn Sink, entry: &LiveStall, time: Nanos) {
        self.sites.stalled(entry, time);
        let labels = self.labels(&entry.stall());
        self.add_time(sink, SeriesKey::new(Metric::StalledSeconds, labels), time);
    }

    pub(crate) fn ended(&mut self, sink: &mut dyn Sink, entry: &LiveStall, now: Nanos) {
        self.sites.ended(entry, now);
        let stall = entry.stall();
        sink.record(
            SeriesKey::new(Metric::StallDuration, [stall.runtime]),
            stall.duration.as_secs_f64(),
        );
    }

    pub(crate) fn busy(&mut self, sink: &mut dyn Sink, handler: &'static str, time: Nanos) {
        self.add_time(sink, SeriesKey::new(Metric::HandlerBusySeconds, [handler]), time);
    }

    /// So many scans, which began that much later than they should in all.
    pub(crate) fn scanned(&mut self, sink: &mut dyn Sink, scans: u64, late: Nanos) {
        sink.add(SeriesKey::new(Metric::ScanBarrier, []), scans);
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

    /// A stack of that stall is on its way.
    pub(crate) fn expect_site(&mut self, stall: &Arc<LiveStall>) {
        self.sites.expect(stall);
    }

    /// Adds the time of sites that are known by now.
    pub(crate) fn settle_sites(&mut self, sink: &mut dyn Sink, now: Nanos) {
        for (labels, time) in self.sites.settle(now) {
            self.add_time(sink, SeriesKey::new(Metric::SiteSeconds, labels), time);
        }
    }

    /// Brings the counts of captures by outcome up to `totals`.
    pub(crate) fn captures(&mut self, sink: &mut dyn Sink, totals: [(&'static str, u64); 5]) {
        for (known, (outcome, total)) in self.captures.iter_mut().zip(totals) {
            if total > *known {
                sink.add(SeriesKey::new(Metric::Captures, [outcome]), total - *known);
                *known = total;
            }
        }
    }

    /// Makes the series of captures.
    pub(crate) fn open_captures(sink: &mut dyn Sink, outcomes: [&'static str; 5]) {
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

    fn labels(&mut self, stall: &Stall) -> [&'static str; 3] {
        let pair = (stall.handler, stall.cause);
        let known = self.pairs.len() < MOST_PAIRS || self.pairs.contains(&pair);
        let handler = if known {
            self.pairs.insert(pair);
            stall.handler
        } else {
            OTHER
        };
        [stall.runtime, handler, stall.cause.as_str()]
    }

    /// Adds the whole seconds and keeps the rest; the series is there from the first call.
    fn add_time(&mut self, sink: &mut dyn Sink, key: SeriesKey, time: Nanos) {
        let rest = self.rests.entry(key).or_default();
        *rest = rest.saturating_add(time);
        sink.add(key, *rest / SECOND);
        *rest %= SECOND;
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
    use super::*;
    use crate::metrics::sink::tests::Seen;
    use crate::stall::tests::stall;

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

    #[test]
    fn a_stall_has_its_series_of_seconds_from_the_start() {
        let (mut counters, mut seen) = (Counters::new(64), Seen::default());
        counters.counted(&mut seen, &stall(1));
        let labels = vec!["main", "GET /hello", "unknown"];
        assert_eq!(seen.counters[&("tokio_stalls_total", labels.clone())], 1);
        assert_eq!(seen.counters[&("tokio_stalled_seconds_total", labels)], 0);
    }

    #[test]
    fn pairs_past_the_cap_count_for_other() {
        let (mut counters, mut seen) = (Counters::new(64), Seen::default());
        for number in 0..MOST_PAIRS + 5 {
            let handler = crate::label::intern(&format!("handler {number}"));
            counters.counted(&mut seen, &Stall { handler, ..stall(1) });
        }
        counters.counted(&mut seen, &Stall { handler: "handler 0", ..stall(1) });
        let count =
            |handler| seen.counters[&("tokio_stalls_total", vec!["main", handler, "unknown"])];
        assert_eq!((count(OTHER), count("handler 0")), (5, 2));
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
