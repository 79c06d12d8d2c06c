//! Stalls that are counted: their records, and the requests that they hold up.

use std::sync::Arc;
use std::time::Duration;

use super::{Scanner, WatchedSlot};
use crate::clock;
use crate::detector::ring::Entry;
use crate::record::Stall;
use crate::watchdog::runtime::WatchedRuntime;
use crate::watchdog::stall::{Newly, OpenStall, Requests, Victims, Whose, tell_time};

impl Scanner {
    /// Makes the record of a stall.
    pub(super) fn count(&mut self, newly: Newly) {
        let runtime = self.runtimes.iter().find(|watched| watched.runtime.index == newly.runtime);
        let (name, workers, stalled) = runtime.map_or(("none", 0, 0), |watched| {
            (watched.runtime.name, watched.runtime.workers, watched.tally.stalled)
        });
        let requests_in_flight = self.requests().in_flight;
        // An excused one that turned out to be a stall goes on under its number; the time that was
        // the environment's stays there.
        let excused = stall(&mut self.slots, &mut self.runtimes, newly.whose).take();
        let excused = excused.map(|excused| (excused.entry.id(), excused.told));
        let (id, told) = excused.unwrap_or((self.last_id + 1, 0));
        self.last_id = self.last_id.max(id);
        let entry = Arc::new(Entry::new(Stall {
            id,
            runtime: name,
            worker: newly.worker.map(|worker| worker as usize),
            handler: newly.handler,
            cause: newly.cause,
            detail: None,
            fix: newly.cause.fix(),
            started_at: clock::wall(newly.since),
            duration: Duration::from_nanos(newly.lasted),
            in_progress: true,
            workers,
            workers_stalled: stalled,
            site: None,
            stack: None,
            stack_missing: None,
            requests_in_flight,
            requests_in_flight_at_end: None,
            delayed_requests: 0,
            trace_id: (newly.trace != 0).then_some(newly.trace),
        }));
        if let Some(taken) = newly.taken {
            entry.set_taken(taken);
        }
        // First of all: who hears of a stall finds it in the ring.
        self.unfiled.push(Arc::clone(&entry));
        self.hub.ring.take_over(&mut self.unfiled);
        self.observer.counted(&entry, newly.found);
        let (runtime, own) = (newly.runtime, u64::from(newly.is_request));
        let victims = Victims { runtime, own, ..Victims::default() };
        *stall(&mut self.slots, &mut self.runtimes, newly.whose) =
            Some(OpenStall { entry, told, victims });
        self.look_at_victims(newly.whose);
        let stall = stall(&mut self.slots, &mut self.runtimes, newly.whose);
        tell_time(&mut *self.observer, stall, newly.lasted);
    }

    /// Requests inside the layer now.
    fn requests(&mut self) -> &Requests {
        let slots = || self.slots.iter().map(|watched| watched.slot);
        let of_runtime = self.runtimes.iter().map(|watched| {
            (watched.runtime.index, self.hub.requests_of(&watched.runtime, slots()))
        });
        self.requests.get_or_insert_with(|| Requests {
            in_flight: self.hub.requests_in_flight(slots()),
            of_runtime: of_runtime.collect(),
        })
    }

    /// Counts the requests that a stall holds up by now.
    pub(super) fn look_at_victims(&mut self, whose: Whose) {
        self.requests();
        let stall = stall(&mut self.slots, &mut self.runtimes, whose);
        if let (Some(stall), Some(requests)) = (stall, &self.requests) {
            stall.look_at_victims(requests, &mut *self.observer);
        }
    }
}

/// Where the stall is kept.
fn stall<'a>(
    slots: &'a mut [WatchedSlot],
    runtimes: &'a mut [WatchedRuntime],
    whose: Whose,
) -> &'a mut Option<OpenStall> {
    match whose {
        Whose::Slot(at) => &mut slots[at].stall,
        Whose::Worker(at, worker) => &mut runtimes[at].workers[worker].suspect.stall,
    }
}
