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
    upkeep: Box<dyn Fn() + Send>,
}

impl Direct {
    /// Returns the page of its counters of seconds with it. `upkeep` is the recorder's, called at the end: what a
    /// histogram has not taken in by then is never freed.
    pub(crate) fn new(
        recorder: Arc<dyn Recorder + Send + Sync>,
        upkeep: impl Fn() + Send + 'static,
    ) -> (Self, SecondsPage) {
        let (seconds, page) = seconds_of_our_own();
        let (counters, histograms) = (HashMap::new(), HashMap::new());
        (Self { recorder, counters, seconds, histograms, upkeep: Box::new(upkeep) }, page)
    }

    fn histogram(&mut self, key: SeriesKey) -> &Histogram {
        let register = || self.recorder.register_histogram(&key.to_metrics(), &METADATA);
        self.histograms.entry(key).or_insert_with(register)
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        (self.upkeep)();
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
