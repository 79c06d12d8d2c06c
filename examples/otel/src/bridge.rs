//! From the `metrics` facade, where the detector's metrics go, to OpenTelemetry.
//!
//! Why not a crate: `metrics-exporter-otel` 0.3, which this follows, is for OpenTelemetry 0.31, and
//! `metrics-exporter-opentelemetry` 0.2 gives unit and description to the first series of a metric
//! alone, which makes two metrics of it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use tower_stall::HISTOGRAM_BUCKETS;

/// A recorder whose series are OpenTelemetry instruments, with what was described before the first
/// series of a name was there.
pub(crate) struct Bridge {
    meter: Meter,
    described: Mutex<HashMap<String, (Option<Unit>, SharedString)>>,
    counters: Mutex<HashMap<Key, Arc<AtomicU64>>>,
    gauges: Mutex<HashMap<Key, Arc<AtomicU64>>>,
    histograms: Mutex<HashMap<Key, Arc<Samples>>>,
}

struct Samples {
    histogram: opentelemetry::metrics::Histogram<f64>,
    attributes: Vec<KeyValue>,
}

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        self.histogram.record(value, &self.attributes);
    }
}

impl Bridge {
    pub(crate) fn new(meter: Meter) -> Self {
        Self {
            meter,
            described: Mutex::default(),
            counters: Mutex::default(),
            gauges: Mutex::default(),
            histograms: Mutex::default(),
        }
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, help: SharedString) {
        lock(&self.described).insert(name.as_str().to_owned(), (unit, help));
    }

    /// Unit and description; the canonical label of seconds is that of UCUM.
    fn described(&self, key: &Key) -> (&'static str, String) {
        match lock(&self.described).get(key.name()) {
            Some((unit, help)) => {
                (unit.map_or("", |unit| unit.as_canonical_label()), help.to_string())
            }
            None => ("", String::new()),
        }
    }
}

impl metrics::Recorder for Bridge {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, help);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, help);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, help: SharedString) {
        self.describe(&name, unit, help);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let make = || {
            let value = Arc::new(AtomicU64::new(0));
            let (unit, help) = self.described(key);
            let (read, attributes) = (Arc::clone(&value), attributes(key));
            self.meter
                .u64_observable_counter(key.name().to_owned())
                .with_unit(unit)
                .with_description(help)
                .with_callback(move |observer| observer.observe(read.load(Relaxed), &attributes))
                .build();
            value
        };
        Counter::from_arc(Arc::clone(lock(&self.counters).entry(key.clone()).or_insert_with(make)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let make = || {
            let value = Arc::new(AtomicU64::new(0));
            let (unit, help) = self.described(key);
            let (read, attributes) = (Arc::clone(&value), attributes(key));
            let observe = move || f64::from_bits(read.load(Relaxed));
            self.meter
                .f64_observable_gauge(key.name().to_owned())
                .with_unit(unit)
                .with_description(help)
                .with_callback(move |observer| observer.observe(observe(), &attributes))
                .build();
            value
        };
        Gauge::from_arc(Arc::clone(lock(&self.gauges).entry(key.clone()).or_insert_with(make)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let make = || {
            let (unit, help) = self.described(key);
            let mut histogram = self
                .meter
                .f64_histogram(key.name().to_owned())
                .with_unit(unit)
                .with_description(help);
            if let Some((_, bounds)) =
                HISTOGRAM_BUCKETS.iter().find(|(name, _)| *name == key.name())
            {
                histogram = histogram.with_boundaries(bounds.to_vec());
            }
            Arc::new(Samples { histogram: histogram.build(), attributes: attributes(key) })
        };
        let mut histograms = lock(&self.histograms);
        Histogram::from_arc(Arc::clone(histograms.entry(key.clone()).or_insert_with(make)))
    }
}

fn attributes(key: &Key) -> Vec<KeyValue> {
    let label =
        |label: &metrics::Label| KeyValue::new(label.key().to_owned(), label.value().to_owned());
    key.labels().map(label).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
