//! The gauges, read off the detector at the moment they are wanted: they move even while the
//! watchdog does not.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::sink::{Key, Sink};
use super::table::Metric;
use crate::clock::{self, seconds};
use crate::detector::hub::Hub;
use crate::detector::markers::OTHER;

/// Remembers which runtimes had gauges, to set them to 0 when the runtime has ended.
#[derive(Debug)]
pub(crate) struct Board {
    hub: Arc<Hub>,
    shown: BTreeSet<&'static str>,
    beating: BTreeSet<&'static str>,
}

impl Board {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        Self { hub, shown: BTreeSet::new(), beating: BTreeSet::new() }
    }

    pub(crate) fn show(&mut self, sink: &mut dyn Sink) {
        sink.set(Key::new(Metric::Threshold, []), seconds(self.hub.threshold));
        sink.set(Key::new(Metric::BuildInfo, [env!("CARGO_PKG_VERSION"), self.hub.capture]), 1.0);
        let (mut gone, mut silent) = (self.shown.clone(), self.beating.clone());
        let now = clock::now();
        // Runtimes past the cap share a name, and no gauge could tell which it speaks of.
        for runtime in self.hub.runtimes().iter().filter(|runtime| runtime.name != OTHER) {
            let name = runtime.name;
            gone.remove(name);
            self.shown.insert(name);
            let gauges = &runtime.gauges;
            set(
                sink,
                name,
                [
                    (Metric::Workers, runtime.workers as f64),
                    (Metric::WorkersStalled, f64::from(gauges.stalled.load(Relaxed))),
                    (Metric::WorkersSaturated, f64::from(gauges.saturated.load(Relaxed))),
                    (Metric::StallInProgress, seconds(gauges.oldest.load(Relaxed))),
                ],
            );
            let beat = runtime.pulse.beat();
            if beat > 0 {
                silent.remove(name);
                self.beating.insert(name);
                set(sink, name, [(Metric::HeartbeatAge, seconds(now.saturating_sub(beat)))]);
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
        sink.set(Key::new(metric, [runtime]), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::hub::tests::LIMITS;
    use crate::metrics::sink::tests::Seen;

    #[test]
    fn the_gauges_of_a_runtime_become_0_when_it_ended() {
        let hub = Hub::new(LIMITS);
        let mut board = Board::new(Arc::clone(&hub));
        let tokio = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let runtime = hub.add_runtime("main", tokio.handle()).expect("watching");
        runtime.pulse.stamp(1, 1);
        let mut seen = Seen::default();
        board.show(&mut seen);
        let gauge = |seen: &Seen, name| seen.gauges[&(name, vec!["main"])];
        assert_eq!(gauge(&seen, "tokio_workers"), 1.0);
        assert!(gauge(&seen, "tokio_event_loop_heartbeat_age_seconds") > 0.0);
        hub.remove_runtime(&runtime);
        board.show(&mut seen);
        assert_eq!(gauge(&seen, "tokio_workers"), 0.0);
        assert_eq!(gauge(&seen, "tokio_event_loop_heartbeat_age_seconds"), 0.0);
    }

    #[test]
    fn a_paused_pulse_leaves_no_ageing_heartbeat() {
        let hub = Hub::new(LIMITS);
        let mut board = Board::new(Arc::clone(&hub));
        let tokio = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        hub.add_runtime("main", tokio.handle()).expect("watching");
        let mut seen = Seen::default();
        board.show(&mut seen);
        assert!(seen.gauges.contains_key(&("tokio_workers", vec!["main"])));
        let age = ("tokio_event_loop_heartbeat_age_seconds", vec!["main"]);
        assert!(!seen.gauges.contains_key(&age), "there was no heartbeat yet");
    }
}
