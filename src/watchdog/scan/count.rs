//! Stalls that are counted: their records, and the requests that they hold up.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{Scanner, WatchedSlot};
use crate::clock;
use crate::stall::LiveStall;
use crate::stall::Stall;
use crate::watchdog::open_stall::{NewStall, OpenStall, Requests, StallPlace, Victims, tell_time};
use crate::watchdog::watched_runtime::WatchedRuntime;

impl Scanner {
    /// Makes the record of a stall.
    pub(super) fn count(&mut self, new_stall: NewStall) {
        let runtime =
            self.runtimes.iter().find(|watched| watched.runtime.index == new_stall.runtime);
        let (name, workers, stalled) = runtime.map_or(("none", 0, 0), |watched| {
            (watched.runtime.name, watched.runtime.workers, watched.tally.stalled)
        });
        let requests_in_flight = self.requests().in_flight;
        // An excused one that turned out to be a stall goes on under its number; the time that was
        // the environment's stays there.
        let excused = stall(&mut self.slots, &mut self.runtimes, new_stall.place_of).take();
        let id = excused.map_or(self.last_id + 1, |excused| excused.entry.id());
        self.last_id = self.last_id.max(id);
        let entry = Arc::new(LiveStall::new(Stall {
            id,
            runtime: name,
            worker: new_stall.worker.map(|worker| worker as usize),
            handler: new_stall.handler,
            cause: new_stall.cause,
            detail: None,
            fix: new_stall.cause.fix(),
            started_at: clock::wall(new_stall.since),
            duration: Duration::from_nanos(new_stall.lasted),
            in_progress: true,
            workers,
            workers_stalled: stalled,
            site: None,
            stack: None,
            site_missing: None,
            stack_missing: None,
            is_complete: false,
            requests_in_flight,
            requests_in_flight_at_end: None,
            delayed_requests: 0,
            trace_id: (new_stall.trace != 0).then_some(new_stall.trace),
        }));
        if let Some(taken) = new_stall.taken {
            entry.set_stack_result(taken);
        }
        // First of all: who hears of a stall finds it in the store.
        self.unfiled.push(Arc::clone(&entry));
        self.file();
        self.observer.counted(&entry, new_stall.found);
        let (runtime, own) = (new_stall.runtime, u64::from(new_stall.is_request));
        let victims = Victims { runtime, own, ..Victims::default() };
        *stall(&mut self.slots, &mut self.runtimes, new_stall.place_of) =
            Some(OpenStall { entry, victims });
        self.count_victims(new_stall.place_of);
        let stall = stall(&mut self.slots, &mut self.runtimes, new_stall.place_of);
        tell_time(&mut *self.observer, stall, new_stall.lasted);
    }

    /// Moves stalls into the store, unless a reader holds it just now.
    pub(super) fn file(&mut self) {
        let dropped = self.registry.store.take_over(&mut self.unfiled);
        if dropped > 0 {
            self.registry.suppressed.fetch_add(dropped, Relaxed);
        }
    }

    /// Requests inside the layer now.
    fn requests(&mut self) -> &Requests {
        let slots = || self.slots.iter().map(|watched| watched.slot);
        let of_runtime = self.runtimes.iter().map(|watched| {
            (watched.runtime.index, self.registry.requests_of(&watched.runtime, slots()))
        });
        self.requests.get_or_insert_with(|| Requests {
            in_flight: self.registry.requests_in_flight(slots()),
            of_runtime: of_runtime.collect(),
        })
    }

    /// Counts the requests that a stall holds up by now.
    pub(super) fn count_victims(&mut self, place_of: StallPlace) {
        self.requests();
        let stall = stall(&mut self.slots, &mut self.runtimes, place_of);
        if let (Some(stall), Some(requests)) = (stall, &self.requests) {
            stall.count_victims(requests, &mut *self.observer);
        }
    }
}

/// Where the stall is kept.
fn stall<'a>(
    slots: &'a mut [WatchedSlot],
    runtimes: &'a mut [WatchedRuntime],
    place_of: StallPlace,
) -> &'a mut Option<OpenStall> {
    match place_of {
        StallPlace::Slot(at) => &mut slots[at].stall,
        StallPlace::Worker(at, worker) => &mut runtimes[at].workers[worker].unattributed.stall,
    }
}
