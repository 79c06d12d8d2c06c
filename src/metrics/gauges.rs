//! The gauges, read off the detector at the moment they are wanted: they move even while the
//! watchdog does not.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::sink::{SeriesKey, Sink};
use super::table::Metric;
use crate::clock::{self, seconds};
use crate::labels::OTHER;
use crate::runtime::registry::Registry;

/// Remembers which runtimes had gauges, to set them to 0 when the runtime has ended.
#[derive(Debug)]
pub(crate) struct Gauges {
    registry: Arc<Registry>,
    shown: BTreeSet<&'static str>,
    beating: BTreeSet<&'static str>,
}

impl Gauges {
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, shown: BTreeSet::new(), beating: BTreeSet::new() }
    }

    pub(crate) fn show(&mut self, sink: &mut dyn Sink) {
        sink.set(SeriesKey::new(Metric::Threshold, []), seconds(self.registry.threshold));
        sink.set(
            SeriesKey::new(Metric::BuildInfo, [env!("CARGO_PKG_VERSION"), self.registry.capture]),
            1.0,
        );
        let (mut gone, mut silent) = (self.shown.clone(), self.beating.clone());
        let now = clock::now();
        // Runtimes past the cap share a name, and no gauge could tell which it speaks of.
        for runtime in self.registry.runtimes().iter().filter(|runtime| runtime.name != OTHER) {
            let name = runtime.name;
            gone.remove(name);
            self.shown.insert(name);
            let status = runtime.snapshot(now);
            set(
                sink,
                name,
                [
                    (Metric::Workers, status.workers as f64),
                    (Metric::WorkersStalled, status.stalled as f64),
                    (Metric::WorkersSaturated, status.saturated as f64),
                    (Metric::StallInProgress, status.oldest.as_secs_f64()),
                ],
            );
            if let Some(age) = status.heartbeat_age {
                silent.remove(name);
                self.beating.insert(name);
                set(sink, name, [(Metric::HeartbeatAge, age.as_secs_f64())]);
            }
        }
        for name in gone {
            set(
                sink,
                name,
                [
                    (Metric::Workers, 0.0),
                    (Metric::WorkersStalled, 0.0),
                    (Metric::WorkersSaturated, 0.0),
                    (Metric::StallInProgress, 0.0),
                ],
            );
        }
        for name in silent {
            set(sink, name, [(Metric::HeartbeatAge, 0.0)]);
        }
    }
}

fn set<const N: usize>(sink: &mut dyn Sink, runtime: &'static str, values: [(Metric, f64); N]) {
    for (metric, value) in values {
        sink.set(SeriesKey::new(metric, [runtime]), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::sink::tests::Seen;
    use crate::runtime::registry::tests::LIMITS;

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
