//! Metrics for `/metrics`.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Counter, Histogram, Recorder};

use super::sink::{METADATA, SeriesKey, Sink};

/// Writes to a recorder of our own, at once.
pub(crate) struct Direct {
    recorder: Arc<dyn Recorder + Send + Sync>,
    counters: HashMap<SeriesKey, Counter>,
    histograms: HashMap<SeriesKey, Histogram>,
}

impl Direct {
    pub(crate) fn new(recorder: Arc<dyn Recorder + Send + Sync>) -> Self {
        Self { recorder, counters: HashMap::new(), histograms: HashMap::new() }
    }

    fn histogram(&mut self, key: SeriesKey) -> &Histogram {
        let register = || self.recorder.register_histogram(&key.to_metrics(), &METADATA);
        self.histograms.entry(key).or_insert_with(register)
    }
}

impl Sink for Direct {
    fn add(&mut self, key: SeriesKey, count: u64) {
        let register = || self.recorder.register_counter(&key.to_metrics(), &METADATA);
        self.counters.entry(key).or_insert_with(register).increment(count);
    }

    fn set(&mut self, key: SeriesKey, value: f64) {
        self.recorder.register_gauge(&key.to_metrics(), &METADATA).set(value);
    }

    fn open(&mut self, key: SeriesKey) {
        self.histogram(key);
    }

    fn record(&mut self, key: SeriesKey, value: f64) {
        self.histogram(key).record(value);
    }
}
