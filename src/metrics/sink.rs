//! Where metrics go.

use std::collections::{HashMap, HashSet};

use metrics::{Label, Level, Metadata};

use super::table::{Metric, MetricInfo, describe};
use crate::clock::Nanos;

/// Samples kept while the reporter is stuck: two minutes of eight runtimes' ticks.
const MOST_SAMPLES: usize = 40_000;
const SECOND: Nanos = 1_000_000_000;

/// A series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    metric: Metric,
    /// The values of the metric's labels, in the order of the table; the rest is empty.
    values: [&'static str; 3],
}

impl SeriesKey {
    pub(crate) fn new<const N: usize>(metric: Metric, labels: [&'static str; N]) -> Self {
        let mut values = [""; 3];
        values[..N].copy_from_slice(&labels);
        Self { metric, values }
    }

    pub(super) fn info(self) -> MetricInfo {
        self.metric.info()
    }

    pub(super) fn to_metrics(self) -> metrics::Key {
        let info = self.info();
        let labels = info.labels.iter().zip(self.values);
        let labels: Vec<_> =
            labels.map(|(name, value)| Label::from_static_parts(name, value)).collect();
        metrics::Key::from_parts(info.name, labels)
    }
}

pub(super) const METADATA: Metadata<'static> =
    Metadata::new("tower_stall", Level::INFO, Some("tower_stall"));

/// Takes counters, gauges and samples.
pub(crate) trait Sink {
    /// Adds to a counter; adding 0 creates the series.
    fn add(&mut self, key: SeriesKey, count: u64);
    /// The same for a counter of seconds.
    fn add_time(&mut self, key: SeriesKey, time: Nanos);
    fn set(&mut self, key: SeriesKey, value: f64);
    /// Creates the series of a histogram without a sample.
    fn open(&mut self, key: SeriesKey);
    fn record(&mut self, key: SeriesKey, value: f64);
    /// What waits for the reporter, if this sink collects.
    fn batch(&mut self) -> Option<&mut Batch> {
        None
    }
}

/// Drops everything.
impl Sink for () {
    fn add(&mut self, _: SeriesKey, _: u64) {}
    fn add_time(&mut self, _: SeriesKey, _: Nanos) {}
    fn set(&mut self, _: SeriesKey, _: f64) {}
    fn open(&mut self, _: SeriesKey) {}
    fn record(&mut self, _: SeriesKey, _: f64) {}
}

/// Collects until the reporter takes it. Counters are summed up; the number of samples is limited.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    counters: HashMap<SeriesKey, u64>,
    times: HashMap<SeriesKey, Nanos>,
    opened: Vec<SeriesKey>,
    samples: Vec<(SeriesKey, f64)>,
    /// Samples past the limit.
    pub(crate) lost: u64,
}

impl Sink for Batch {
    fn add(&mut self, key: SeriesKey, count: u64) {
        *self.counters.entry(key).or_default() += count;
    }

    fn add_time(&mut self, key: SeriesKey, time: Nanos) {
        *self.times.entry(key).or_default() += time;
    }

    /// The reporter reads and sets gauges itself, see [`Gauges`](super::Gauges).
    fn set(&mut self, _: SeriesKey, _: f64) {}

    fn open(&mut self, key: SeriesKey) {
        self.opened.push(key);
    }

    fn record(&mut self, key: SeriesKey, value: f64) {
        if self.samples.len() < MOST_SAMPLES {
            self.samples.push((key, value));
        } else {
            self.lost += 1;
        }
    }

    fn batch(&mut self) -> Option<&mut Batch> {
        Some(self)
    }
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.times.is_empty() && self.samples.is_empty()
    }

    /// Writes all of it.
    pub(crate) fn pour(self, sink: &mut dyn Sink) {
        for (key, count) in self.counters {
            sink.add(key, count);
        }
        for (key, time) in self.times {
            sink.add_time(key, time);
        }
        for key in self.opened {
            sink.open(key);
        }
        for (key, value) in self.samples {
            sink.record(key, value);
        }
    }
}

/// Writes to the recorder that is installed for the process. Keeps names of series instead of handles,
/// since a recorder may be installed after the start of the detector.
#[derive(Debug, Default)]
pub(crate) struct Facade {
    counters: HashSet<SeriesKey>,
    histograms: HashSet<SeriesKey>,
    /// Parts of a second that are not written yet: its counters are integers.
    rests: HashMap<SeriesKey, Nanos>,
}

impl Facade {
    /// Tells the recorder what the metrics mean and which series there are.
    pub(crate) fn introduce(&self) {
        metrics::with_recorder(|recorder| {
            describe(recorder);
            for key in &self.counters {
                recorder.register_counter(&key.to_metrics(), &METADATA).increment(0);
            }
            for key in &self.histograms {
                let _ = recorder.register_histogram(&key.to_metrics(), &METADATA);
            }
        });
    }
}

impl Sink for Facade {
    fn add(&mut self, key: SeriesKey, count: u64) {
        self.counters.insert(key);
        metrics::with_recorder(|recorder| {
            recorder.register_counter(&key.to_metrics(), &METADATA).increment(count);
        });
    }

    /// Adds the whole seconds and keeps the rest.
    fn add_time(&mut self, key: SeriesKey, time: Nanos) {
        let rest = self.rests.entry(key).or_default();
        *rest = rest.saturating_add(time);
        let whole = *rest / SECOND;
        *rest %= SECOND;
        self.add(key, whole);
    }

    fn set(&mut self, key: SeriesKey, value: f64) {
        metrics::with_recorder(|recorder| {
            recorder.register_gauge(&key.to_metrics(), &METADATA).set(value);
        });
    }

    fn open(&mut self, key: SeriesKey) {
        self.histograms.insert(key);
        metrics::with_recorder(|recorder| {
            let _ = recorder.register_histogram(&key.to_metrics(), &METADATA);
        });
    }

    fn record(&mut self, key: SeriesKey, value: f64) {
        metrics::with_recorder(|recorder| {
            recorder.register_histogram(&key.to_metrics(), &METADATA).record(value);
        });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use metrics::{Counter, Gauge, Histogram, KeyName, Recorder, SharedString, Unit};

    use super::*;

    /// Remembers what it was given, by name and label values.
    #[derive(Debug, Default)]
    pub(crate) struct Seen {
        pub(crate) counters: HashMap<(&'static str, Vec<&'static str>), u64>,
        pub(crate) times: HashMap<(&'static str, Vec<&'static str>), Nanos>,
        pub(crate) gauges: HashMap<(&'static str, Vec<&'static str>), f64>,
        pub(crate) samples: Vec<f64>,
    }

    fn name(key: SeriesKey) -> (&'static str, Vec<&'static str>) {
        let values = key.values.into_iter().take(key.metric.info().labels.len());
        (key.metric.info().name, values.collect())
    }

    impl Sink for Seen {
        fn add(&mut self, key: SeriesKey, count: u64) {
            *self.counters.entry(name(key)).or_default() += count;
        }

        fn add_time(&mut self, key: SeriesKey, time: Nanos) {
            *self.times.entry(name(key)).or_default() += time;
        }

        fn set(&mut self, key: SeriesKey, value: f64) {
            self.gauges.insert(name(key), value);
        }

        fn open(&mut self, _: SeriesKey) {}

        fn record(&mut self, _: SeriesKey, value: f64) {
            self.samples.push(value);
        }
    }

    /// A recorder with one counter for all names.
    #[derive(Default)]
    struct Whole(Arc<AtomicU64>);

    impl Recorder for Whole {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, _: &metrics::Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(Arc::clone(&self.0))
        }

        fn register_gauge(&self, _: &metrics::Key, _: &Metadata<'_>) -> Gauge {
            Gauge::noop()
        }

        fn register_histogram(&self, _: &metrics::Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_batch_keeps_counts_and_counts_the_samples_it_cannot_keep() {
        let mut batch = Batch::default();
        batch.add(SeriesKey::new(Metric::Scans, []), 2);
        batch.add(SeriesKey::new(Metric::Scans, []), 3);
        batch.add_time(SeriesKey::new(Metric::LateSeconds, []), 4);
        batch.add_time(SeriesKey::new(Metric::LateSeconds, []), 5);
        for _ in 0..MOST_SAMPLES + 7 {
            batch.record(SeriesKey::new(Metric::Lag, ["main"]), 0.5);
        }
        assert_eq!(batch.lost, 7);
        let mut seen = Seen::default();
        batch.pour(&mut seen);
        assert_eq!(seen.counters[&("tower_stall_watchdog_scans_total", vec![])], 5);
        assert_eq!(seen.times[&("tower_stall_watchdog_late_seconds_total", vec![])], 9);
        assert_eq!(seen.samples.len(), MOST_SAMPLES);
    }

    #[test]
    fn the_facade_gets_whole_seconds_and_the_rest_is_carried() {
        let recorder = Whole::default();
        metrics::with_local_recorder(&recorder, || {
            let mut facade = Facade::default();
            let key = SeriesKey::new(Metric::FrozenSeconds, ["main", "unknown"]);
            let after = [600, 600, 800, 150].map(|ms| {
                let mut batch = Batch::default();
                batch.add_time(key, ms * 1_000_000);
                batch.pour(&mut facade);
                recorder.0.load(Relaxed)
            });
            assert_eq!(after, [0, 1, 2, 2]);
        });
    }
}
