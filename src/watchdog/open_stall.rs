//! Stalls from the scan that counts them to the one that finds them over, and the requests that they
//! hold up.

use std::sync::Arc;
use std::time::Duration;

use super::events::{Event, Events, StalledThread};
use super::rules::poll::PollEvent;
use crate::clock::{self, Nanos};
use crate::labels::ENVIRONMENT;
use crate::stall::{Cause, LiveStall, StackResult, Stall};

/// A stall that is counted and not over.
#[derive(Debug)]
pub(super) struct OpenStall {
    pub(super) live: Arc<LiveStall>,
    /// The index of its runtime.
    pub(super) runtime: u32,
    /// Requests that are the stall itself.
    own_requests: u64,
    /// All inside the layer at the last scan.
    in_flight: u64,
}

/// Requests inside the layer at one moment.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) in_flight: u64,
    /// By index of the runtime.
    pub(super) of_runtime: Vec<(u32, u64)>,
}

/// Where a stall is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum StallPlace {
    /// By the place of its slot in the list.
    Slot(usize),
    /// By the places of runtime and worker in the lists.
    Worker(usize, usize),
}

/// A poll that is long enough to be a stall.
pub(super) struct StalledPoll {
    pub(super) place: StallPlace,
    /// The index of its runtime, and its worker, as slots say it.
    pub(super) runtime: u32,
    pub(super) worker: Option<u32>,
    pub(super) label: &'static str,
    pub(super) since: Nanos,
    pub(super) trace: u128,
    /// Whether it is a request itself.
    pub(super) is_request: bool,
    pub(super) thread: StalledThread,
    /// Its stack, where that was wanted to prove it.
    pub(super) stack: Option<StackResult>,
}

/// A stall that begins with this scan: a poll, and what it is blamed on.
pub(super) struct NewStall {
    pub(super) poll: StalledPoll,
    pub(super) lasted: Nanos,
    handler: &'static str,
    cause: Cause,
}

/// What a record says of the runtime of a stall.
#[derive(Clone, Copy, Debug)]
pub(super) struct RuntimeNow {
    pub(super) name: &'static str,
    pub(super) workers: usize,
    pub(super) stalled: usize,
}

impl NewStall {
    /// The stall that begins with that event of a poll, if one does.
    pub(super) fn begins(event: PollEvent, poll: impl FnOnce() -> StalledPoll) -> Option<Self> {
        let (lasted, is_blamed) = match event {
            PollEvent::Counted(lasted) => (lasted, true),
            PollEvent::Excused(lasted) => (lasted, false),
            _ => return None,
        };
        let mut poll = poll();
        let report = poll.thread.cause_report.as_ref();
        let classification = report.map(|report| report.classification);
        let (handler, cause) = if is_blamed {
            (poll.label, classification.map(|found| found.cause))
        } else {
            // A stack would show what the program did, which is not to blame.
            poll.stack = None;
            (ENVIRONMENT, classification.map(|found| found.excuse))
        };
        Some(Self { poll, lasted, handler, cause: cause.unwrap_or(Cause::Unknown) })
    }

    /// Its record, under that number.
    pub(super) fn record(&mut self, id: u64, runtime: RuntimeNow, in_flight: u64) -> LiveStall {
        let poll = &mut self.poll;
        let live = LiveStall::new(Stall {
            id,
            runtime: runtime.name.into(),
            worker: poll.worker.map(|worker| worker as usize),
            handler: self.handler.into(),
            cause: self.cause,
            detail: None,
            fix: self.cause.fix().into(),
            started_at: clock::wall(poll.since),
            duration: Duration::from_nanos(self.lasted),
            in_progress: true,
            workers: runtime.workers,
            workers_stalled: runtime.stalled,
            site: None,
            stack: None,
            site_missing: None,
            stack_missing: None,
            is_complete: false,
            requests_in_flight: in_flight,
            requests_in_flight_at_end: None,
            delayed_requests: 0,
            trace_id: (poll.trace != 0).then_some(poll.trace),
        });
        if let Some(stack) = poll.stack.take() {
            live.set_stack_result(stack);
        }
        live
    }
}

impl OpenStall {
    pub(super) fn new(live: Arc<LiveStall>, poll: &StalledPoll) -> Self {
        let own_requests = u64::from(poll.is_request);
        Self { live, runtime: poll.runtime, own_requests, in_flight: 0 }
    }

    /// Counts the requests that are held up by now. They never become fewer.
    pub(super) fn count_requests(&mut self, requests: &Requests) {
        self.in_flight = requests.in_flight;
        let mut of_runtime = requests.of_runtime.iter();
        let Some((_, in_flight)) = of_runtime.find(|(index, _)| *index == self.runtime) else {
            return;
        };
        let others = in_flight.saturating_sub(self.own_requests);
        if others > self.live.delayed() && !self.live.cause().is_environment() {
            self.live.delay(others);
        }
    }

    /// Brings a stall up to date with what became of its poll, if it has one.
    pub(super) fn follow(stall: &mut Option<Self>, event: PollEvent, events: &mut Events) {
        match (event, &stall) {
            (PollEvent::Ended(lasted), _) => Self::end(stall, lasted, events),
            (PollEvent::Lasts(lasted), Some(stall)) => stall.live.last(lasted),
            (PollEvent::Doubled(lasted), Some(stall)) => {
                stall.live.last(lasted);
                events.push(Event::StallContinues(Arc::clone(&stall.live)));
            }
            _ => {}
        }
    }

    /// Closes the record of a stall, if there is one. It has lasted for that long, or for what is
    /// known already.
    pub(super) fn end(stall: &mut Option<Self>, lasted: Nanos, events: &mut Events) {
        if let Some(stall) = stall.take() {
            stall.live.end(lasted, stall.in_flight);
            events.push(Event::StallEnded(stall.live));
        }
    }
}
