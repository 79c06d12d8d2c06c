//! ScanBarrier without a thread, for the bench of their cost. Not public API.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::scan::Scanner;
use super::{FoundStall, Guardian, Observer, Patience};
use crate::clock::{self, Nanos};
use crate::labels::PollKind;
use crate::runtime::Runtime;
use crate::runtime::registry::{Limits, Registry};
use crate::slot::{Identity, LabelId, Place, Slot};
use crate::stack::PollProof;
use crate::stall::Cause;
use crate::stall::LiveStall;

const THRESHOLD: Nanos = 3_600_000_000_000;
const NOTHING: Guardian = Guardian {
    patience: Patience {
        dead_after: THRESHOLD,
        unready_after: THRESHOLD,
        ready_after: 0,
        shed_after: THRESHOLD,
    },
    rescues: false,
};

/// A scanner over slots that no thread owns.
pub struct BenchScans {
    scanner: Scanner,
    slots: &'static [Slot],
    label_id: LabelId,
}

impl BenchScans {
    /// With that many slots, on a runtime that has at least one worker.
    #[must_use]
    pub fn new(slots: usize, runtime: &Handle) -> Self {
        let registry = Registry::new(Limits {
            threshold: THRESHOLD,
            handlers: 1,
            history: 1,
            watching: true,
            capture: "off",
            on_new_runtime: None,
            everywhere: false,
        });
        let label_id = registry.labels.id("bench", THRESHOLD, PollKind::Task);
        registry.add_runtime("main", runtime);
        let slots: Box<[Slot]> = (0..slots).map(|_| Slot::new()).collect();
        let slots: &'static [Slot] = Box::leak(slots);
        for slot in slots {
            registry.add_slot(slot);
        }
        let scanner = Scanner::new(registry, Duration::from_millis(25), NOTHING, Box::new(Nobody));
        Self { scanner, slots, label_id }
    }

    /// Enters a poll in every `step`th slot, for ever.
    pub fn open(&mut self, step: usize) {
        for slot in self.slots.iter().step_by(step) {
            let _ = slot.enter(self.label_id, who);
        }
    }

    /// Polls once in each slot that is not open.
    pub fn poll(&mut self) {
        for slot in self.slots.iter().filter(|slot| !slot.is_open()) {
            let entered = slot.enter(self.label_id, who);
            slot.leave(entered, clock::now);
        }
    }

    /// ScanBarrier once.
    pub fn scan(&mut self) {
        self.scanner.scan(clock::now(), 0);
    }
}

fn who() -> Identity {
    Identity { place: Place { runtime: 1, worker: Some(0) }, thread: 1, claim: 1 }
}

impl std::fmt::Debug for BenchScans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BenchScans").field("slots", &self.slots.len()).finish_non_exhaustive()
    }
}

/// Does not listen.
struct Nobody;

impl Observer for Nobody {
    fn runtime_appeared(&mut self, _: &Arc<Runtime>) {}
    fn runtime_ended(&mut self, _: &Arc<Runtime>) {}
    fn lag(&mut self, _: &'static str, _: Nanos) {}
    fn lags_lost(&mut self, _: u64) {}
    fn frozen(&mut self, _: &'static str, _: Cause, _: Nanos) {}
    fn counted(&mut self, _: &Arc<LiveStall>, _: FoundStall) {}
    fn stalled(&mut self, _: &Arc<LiveStall>, _: Nanos) {}
    fn delayed(&mut self, _: &Arc<LiveStall>, _: u64) {}
    fn continues(&mut self, _: &Arc<LiveStall>) {}
    fn ended(&mut self, _: &Arc<LiveStall>) {}
    fn busy(&mut self, _: &'static str, _: Nanos) {}
    fn examine(&mut self, _: Arc<PollProof>) {}
    fn map_workers(&mut self, _: &Arc<Runtime>) {}
    fn rescue(&mut self, _: &Arc<Runtime>, _: bool) {}
    fn ask(&mut self, _: &Arc<Runtime>) {}
    fn dead(&mut self, _: &Arc<Runtime>, _: Nanos, _: Option<&Arc<LiveStall>>) {}
    fn scanned(&mut self, _: Nanos, _: Nanos) {}
}
