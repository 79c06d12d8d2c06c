//! The gauges, read when they are asked for, so that they move even while the watchdog does not.

use std::collections::HashMap;
use std::sync::Arc;

use super::sink::{SeriesKey, Sink};
use super::table::Metric;
use crate::clock::{self, seconds};
use crate::labels::OTHER;
use crate::runtime::registry::Registry;
use crate::vitals::{Condition, ThreadReport};

/// Remembers the gauges of runtimes, to set them to 0 when a runtime has ended.
#[derive(Debug)]
pub(crate) struct Gauges {
    registry: Arc<Registry>,
    of_runtimes: HashMap<SeriesKey, f64>,
}

impl Gauges {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, of_runtimes: HashMap::new() }
    }

    pub(crate) fn show(&mut self, sink: &mut dyn Sink) {
        let Registry { threshold, capture, .. } = *self.registry;
        sink.set(SeriesKey::new(Metric::Threshold, []), seconds(threshold));
        sink.set(SeriesKey::new(Metric::BuildInfo, [env!("CARGO_PKG_VERSION"), capture]), 1.0);
        let now = clock::now();
        for ThreadReport { thread, condition, .. } in self.registry.vitals.reports(now) {
            let is_up = condition == Condition::Works;
            sink.set(SeriesKey::new(Metric::ThreadUp, [thread.as_str()]), f64::from(is_up));
        }
        self.of_runtimes.values_mut().for_each(|value| *value = 0.0);
        // Runtimes past the cap share a name, so that one gauge would mix them up.
        for runtime in self.registry.runtimes().iter().filter(|runtime| runtime.name != OTHER) {
            let status = runtime.snapshot(now);
            for (metric, value) in [
                (Metric::Workers, Some(status.workers as f64)),
                (Metric::WorkersStalled, Some(status.stalled as f64)),
                (Metric::WorkersSaturated, Some(status.saturated as f64)),
                (Metric::StallInProgress, Some(status.oldest.as_secs_f64())),
                (Metric::HeartbeatAge, status.heartbeat_age.map(|age| age.as_secs_f64())),
            ] {
                let key = SeriesKey::new(metric, [runtime.name]);
                self.of_runtimes.extend(value.map(|value| (key, value)));
            }
        }
        for (key, value) in &self.of_runtimes {
            sink.set(*key, *value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sink::tests::Seen;
    use crate::runtime::registry::LIMITS;

    #[test]
    fn the_gauges_of_a_runtime_become_0_when_it_ended() {
        let registry = Registry::new(LIMITS);
        let mut gauges = Gauges::new(Arc::clone(&registry));
        let tokio = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let runtime = registry.add_runtime("main", tokio.handle()).expect("watching");
        runtime.heartbeat.stamp(1, 1);
        let mut seen = Seen::default();
        gauges.show(&mut seen);
        let gauge = |seen: &Seen, name| seen.gauges[&(name, vec!["main"])];
        assert_eq!(gauge(&seen, "tokio_workers"), 1.0);
        assert!(gauge(&seen, "tokio_event_loop_heartbeat_age_seconds") > 0.0);
        registry.remove_runtime(&runtime);
        gauges.show(&mut seen);
        assert_eq!(gauge(&seen, "tokio_workers"), 0.0);
        assert_eq!(gauge(&seen, "tokio_event_loop_heartbeat_age_seconds"), 0.0);
    }

    #[test]
    fn a_paused_pulse_leaves_no_ageing_heartbeat() {
        let registry = Registry::new(LIMITS);
        let mut gauges = Gauges::new(Arc::clone(&registry));
        let tokio = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        registry.add_runtime("main", tokio.handle()).expect("watching");
        let mut seen = Seen::default();
        gauges.show(&mut seen);
        assert!(seen.gauges.contains_key(&("tokio_workers", vec!["main"])));
        let age = ("tokio_event_loop_heartbeat_age_seconds", vec!["main"]);
        assert!(!seen.gauges.contains_key(&age), "there was no heartbeat yet");
    }
}
