//! From the `metrics` facade, where the detector's metrics go, to OpenTelemetry.
//!
//! Why not another crate: `metrics-exporter-otel` 0.3, which this began with, is for OpenTelemetry 0.31, and
//! `metrics-exporter-opentelemetry` 0.2 gives unit and description to the first series of a metric
//! alone, which makes two metrics of it.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, SharedString, Unit};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use tower_stall::HISTOGRAM_BUCKETS;

use crate::names::METRICS;
use crate::scope;

/// A recorder of the `metrics` facade whose series are OpenTelemetry's.
///
/// Metrics of tower-stall have the names and units of [`METRICS`], their descriptions, and the buckets of
/// [`HISTOGRAM_BUCKETS`]. All others keep their names, and have the unit and the description
/// that they had before their first series.
///
/// A process has one recorder. [`install`](Self::install) makes this one it. Where there is another, such as
/// Prometheus', `FanoutBuilder` of metrics-util makes one of both:
///
/// ```
/// # fn install(meters: &opentelemetry_sdk::metrics::SdkMeterProvider, prometheus: metrics::NoopRecorder)
/// # -> Result<(), Box<dyn std::error::Error>> {
/// use metrics_util::layers::FanoutBuilder;
/// use tower_stall_opentelemetry::StallMetrics;
///
/// let both = FanoutBuilder::default()
///     .add_recorder(prometheus)
///     .add_recorder(StallMetrics::new(meters))
///     .build();
/// metrics::set_global_recorder(both)?;
/// # Ok(()) }
/// ```
///
/// The detector's metrics go there with [`Builder::facade`](tower_stall::Builder::facade), and without an admin
/// server.
pub struct StallMetrics {
    meter: Meter,
    described: RwLock<HashMap<String, Described>>,
    counters: Family,
    gauges: Family,
    histograms: RwLock<HashMap<Key, Arc<Samples>>>,
}

type Described = (Option<Unit>, SharedString);
type Values = Arc<Mutex<Vec<(Arc<AtomicU64>, Vec<KeyValue>)>>>;

/// All counters, or all gauges: the series, and those of each instrument.
#[derive(Default)]
struct Family {
    series: RwLock<HashMap<Key, Arc<AtomicU64>>>,
    instruments: Mutex<HashMap<String, Values>>,
}

struct Samples {
    histogram: opentelemetry::metrics::Histogram<f64>,
    attributes: Vec<KeyValue>,
}

/// An instrument by OpenTelemetry's conventions.
struct Named {
    name: String,
    unit: &'static str,
    help: String,
}

/// Another recorder is installed.
#[derive(Debug)]
#[non_exhaustive]
pub struct InstallError;

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "the `metrics` facade has a recorder: join both by metrics_util::layers::FanoutBuilder, \
             and install that one alone",
        )
    }
}

impl std::error::Error for InstallError {}

impl StallMetrics {
    /// Instruments of a provider: the service's, or `&*opentelemetry::global::meter_provider()`, if that is set by then.
    #[must_use]
    pub fn new<P: MeterProvider + ?Sized>(provider: &P) -> Self {
        Self {
            meter: provider.meter_with_scope(scope()),
            described: RwLock::default(),
            counters: Family::default(),
            gauges: Family::default(),
            histograms: RwLock::default(),
        }
    }

    /// Makes it the recorder of the process.
    ///
    /// # Errors
    ///
    /// If there is one.
    pub fn install(self) -> Result<(), InstallError> {
        metrics::set_global_recorder(self).map_err(|_| InstallError)
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>, help: SharedString) {
        let mut described = self.described.write().unwrap_or_else(PoisonError::into_inner);
        described.insert(name.as_str().to_owned(), (unit, help));
    }

    fn named(&self, key: &Key) -> Named {
        let of_table = METRICS.iter().zip(tower_stall::METRICS);
        if let Some((ours, info)) = of_table.into_iter().find(|(it, _)| it.facade == key.name()) {
            return Named { name: ours.name.into(), unit: ours.unit, help: info.help.into() };
        }
        let described = self.described.read().unwrap_or_else(PoisonError::into_inner);
        let (unit, help) = described.get(key.name()).cloned().unwrap_or_default();
        Named { name: key.name().to_owned(), unit: unit.map_or("", ucum), help: help.to_string() }
    }

    fn counter(&self, key: &Key) -> Arc<AtomicU64> {
        self.counters.series(key, |values| {
            let Named { name, unit, help } = self.named(key);
            let builder = self.meter.u64_observable_counter(name).with_unit(unit);
            let builder = builder.with_description(help).with_callback(move |observer| {
                each(&values, |value, attributes| observer.observe(value, attributes));
            });
            builder.build();
        })
    }

    fn gauge(&self, key: &Key) -> Arc<AtomicU64> {
        self.gauges.series(key, |values| {
            let Named { name, unit, help } = self.named(key);
            let builder = self.meter.f64_observable_gauge(name).with_unit(unit);
            let builder = builder.with_description(help).with_callback(move |observer| {
                each(&values, |value, attributes| {
                    observer.observe(f64::from_bits(value), attributes);
                });
            });
            builder.build();
        })
    }

    fn histogram(&self, key: &Key) -> Arc<Samples> {
        found_or_made(&self.histograms, key, || {
            let Named { name, unit, help } = self.named(key);
            let mut builder = self.meter.f64_histogram(name).with_unit(unit).with_description(help);
            let ours = HISTOGRAM_BUCKETS.iter().find(|(name, _)| *name == key.name());
            if let Some((_, bounds)) = ours {
                builder = builder.with_boundaries(bounds.to_vec());
            }
            Arc::new(Samples { histogram: builder.build(), attributes: attributes(key) })
        })
    }
}

impl fmt::Debug for StallMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StallMetrics").finish_non_exhaustive()
    }
}

/// What uses the facade does not notice a panic of the SDK's: it then has an instrument that does nothing.
impl metrics::Recorder for StallMetrics {
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
        guarded(|| self.counter(key)).map_or_else(Counter::noop, Counter::from_arc)
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        guarded(|| self.gauge(key)).map_or_else(Gauge::noop, Gauge::from_arc)
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        guarded(|| self.histogram(key)).map_or_else(Histogram::noop, Histogram::from_arc)
    }
}

impl HistogramFn for Samples {
    fn record(&self, value: f64) {
        let _ = guarded(|| self.histogram.record(value, &self.attributes));
    }
}

impl Family {
    /// The value of a series. The first one of a name makes the instrument, which reads all of them.
    fn series(&self, key: &Key, make: impl FnOnce(Values)) -> Arc<AtomicU64> {
        found_or_made(&self.series, key, || {
            let value = Arc::new(AtomicU64::new(0));
            let series = (Arc::clone(&value), attributes(key));
            let mut instruments = self.instruments.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(values) = instruments.get(key.name()) {
                values.lock().unwrap_or_else(PoisonError::into_inner).push(series);
            } else {
                let values = Values::new(Mutex::new(vec![series]));
                make(Arc::clone(&values));
                instruments.insert(key.name().to_owned(), values);
            }
            value
        })
    }
}

/// Most keys are there: only new ones wait for one another.
fn found_or_made<K: Clone + Eq + Hash, V: Clone>(
    map: &RwLock<HashMap<K, V>>,
    key: &K,
    make: impl FnOnce() -> V,
) -> V {
    if let Some(found) = map.read().unwrap_or_else(PoisonError::into_inner).get(key) {
        return found.clone();
    }
    let mut map = map.write().unwrap_or_else(PoisonError::into_inner);
    map.entry(key.clone()).or_insert_with(make).clone()
}

fn each(values: &Values, mut observe: impl FnMut(u64, &[KeyValue])) {
    for (value, attributes) in &*values.lock().unwrap_or_else(PoisonError::into_inner) {
        observe(value.load(Relaxed), attributes);
    }
}

fn attributes(key: &Key) -> Vec<KeyValue> {
    let label =
        |label: &metrics::Label| KeyValue::new(label.key().to_owned(), label.value().to_owned());
    key.labels().map(label).collect()
}

/// Runs code of the SDK's, which may panic.
fn guarded<T>(run: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(run)).ok()
}

/// The unit as UCUM writes it.
fn ucum(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "",
        Unit::Percent => "%",
        Unit::Seconds => "s",
        Unit::Milliseconds => "ms",
        Unit::Microseconds => "us",
        Unit::Nanoseconds => "ns",
        Unit::Tebibytes => "TiBy",
        Unit::Gibibytes => "GiBy",
        Unit::Mebibytes => "MiBy",
        Unit::Kibibytes => "KiBy",
        Unit::Bytes => "By",
        Unit::TerabitsPerSecond => "Tbit/s",
        Unit::GigabitsPerSecond => "Gbit/s",
        Unit::MegabitsPerSecond => "Mbit/s",
        Unit::KilobitsPerSecond => "kbit/s",
        Unit::BitsPerSecond => "bit/s",
        Unit::CountPerSecond => "/s",
    }
}
