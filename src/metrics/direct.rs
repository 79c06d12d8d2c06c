//! Metrics for `/metrics`.

use std::collections::HashMap;
use std::sync::Arc;

use metrics::{Counter, Histogram, Recorder};

use super::seconds::{SecondsPage, SecondsWriter, seconds_of_our_own};
use super::sink::{METADATA, SeriesKey, Sink};
use crate::clock::Nanos;

/// Writes at once: counters of seconds to a page of their own, all else to a recorder of our own.
pub(crate) struct Direct {
    recorder: Arc<dyn Recorder + Send + Sync>,
    counters: HashMap<SeriesKey, Counter>,
    seconds: SecondsWriter,
    histograms: HashMap<SeriesKey, Histogram>,
}

impl Direct {
    /// Returns the page of its counters of seconds with it.
    pub(crate) fn new(recorder: Arc<dyn Recorder + Send + Sync>) -> (Self, SecondsPage) {
        let (seconds, page) = seconds_of_our_own();
        let (counters, histograms) = (HashMap::new(), HashMap::new());
        (Self { recorder, counters, seconds, histograms }, page)
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

    fn add_time(&mut self, key: SeriesKey, time: Nanos) {
        self.seconds.add(key, time);
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
