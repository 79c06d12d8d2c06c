//! Scans by hand, for the count of what they cost. Not public API.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::rules::health::Patience;
use super::scan::{ScanStart, Scanner};
use super::settings::WatchdogSettings;
use crate::clock::{self, Nanos};
use crate::labels::PollKind;
use crate::runtime::Runtime;
use crate::runtime::registry::{LIMITS, Limits, Registry};
use crate::slot::{Identity, LabelId, Slot};

const TICK: Duration = Duration::from_millis(25);
const SECOND: Nanos = 1_000_000_000;

/// A watchdog without a thread, and the slots of threads that do not exist.
pub struct BenchScans {
    runtime: Arc<Runtime>,
    scanner: Scanner,
    slots: &'static [Slot],
    label_id: LabelId,
    now: Nanos,
}

impl BenchScans {
    /// Watches a runtime and as many threads.
    ///
    /// # Panics
    ///
    /// Never: what has just been made watches.
    pub fn new(handle: &Handle, threads: usize) -> Self {
        let registry = Registry::new(Limits { threshold: SECOND, ..LIMITS });
        let runtime = registry.add_runtime("bench", handle).expect("it watches");
        // As on a runtime that was named.
        runtime.heartbeat.set_by_timer(true);
        let slots: Vec<_> = (0..threads).map(|_| Slot::new()).collect();
        let slots: &'static [Slot] = Vec::leak(slots);
        slots.iter().for_each(|slot| registry.add_slot(slot));
        let label_id = registry.labels.id("bench", SECOND, PollKind::Task);
        let patience = Patience {
            dead_after: 10 * SECOND,
            unready_after: SECOND,
            ready_after: SECOND,
            shed_after: SECOND,
        };
        let tick = clock::nanos(TICK);
        let settings = WatchdogSettings {
            scan_interval: tick,
            tick_interval: TICK,
            // The usual pace.
            idle_interval: 0,
            patience,
            rescue: true,
        };
        let scanner = Scanner::new(registry, settings);
        Self { runtime, scanner, slots, label_id, now: clock::now() }
    }

    /// Every thread polls something that is marked.
    pub fn poll_everywhere(&self) {
        for slot in self.slots {
            slot.leave(slot.enter(self.label_id, |_| Identity::default()), clock::now);
        }
    }

    /// The runtime ticks, and it is time for the next scan.
    pub fn tick(&mut self) {
        let due = self.now + clock::nanos(TICK);
        self.now = due;
        let heartbeat = &self.runtime.heartbeat;
        heartbeat.set_ticking(true);
        heartbeat.stamp(due, due);
        heartbeat.expect(due + clock::nanos(TICK));
    }

    /// Scans once. Returns how many events there were.
    pub fn scan(&mut self) -> usize {
        let start = ScanStart { now: self.now, late: 0, woken: false, sampled: clock::nanos(TICK) };
        self.scanner.scan(start).drain().count()
    }
}

impl fmt::Debug for BenchScans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BenchScans").finish_non_exhaustive()
    }
}
