//! Stalls from the scan that counts them to the scan that finds them over, and the requests that they
//! delay.

use std::sync::Arc;
use std::time::Duration;

use super::environment::Environment;
use super::events::{Event, Events, StalledThread};
use super::evidence::EvidenceLog;
use super::rules::poll::PollEvent;
use crate::clock::{self, Nanos};
use crate::labels::ENVIRONMENT;
use crate::procfs::thread::{self, ThreadState};
use crate::slot::Place;
use crate::stall::{Cause, LiveStall, StackResult, Stall};

/// From which time on a stall is looked at again when it has doubled its time.
const LOOKS_FROM: Nanos = 1_000_000_000;
/// How long such a look takes: time enough to tell who computes from who waits.
const LOOK: Nanos = 100_000_000;

/// A stall that is counted and not over.
#[derive(Debug)]
pub(super) struct OpenStall {
    pub(super) live: Arc<LiveStall>,
    /// The index of its runtime.
    pub(super) runtime: u32,
    /// For another attempt to take its stack, or to find out who has what it waits for.
    thread: StalledThread,
    /// Whether the stalled poll is a request itself.
    is_request: bool,
    /// Requests inside the layer at the last scan.
    in_flight: u64,
    /// What its thread did when it was looked at last.
    state: ThreadState,
    /// It is being looked at again.
    look: Option<Box<Look>>,
}

/// Another look at what the thread of a stall does.
#[derive(Debug)]
struct Look {
    since: Nanos,
    evidence: EvidenceLog,
}

/// Requests inside the layer at one moment.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) in_flight: u64,
    /// By index of the runtime.
    pub(super) of_runtime: Vec<(u32, u64)>,
}

/// Where an open stall is kept, by indexes of the scanner's lists.
#[derive(Clone, Copy, Debug)]
pub(super) enum StallOwner {
    Slot(usize),
    Worker {
        runtime: usize,
        worker: usize,
    },
    /// Nowhere: it is over after that long, and was proven only then.
    Ended {
        lasted: Nanos,
    },
}

/// A poll that is long enough to be a stall.
pub(super) struct StalledPoll {
    pub(super) owner: StallOwner,
    pub(super) place: Place,
    pub(super) label: &'static str,
    pub(super) since: Nanos,
    pub(super) trace: u128,
    pub(super) is_request: bool,
    pub(super) thread: StalledThread,
    /// Its stack, if that was taken already to prove the poll.
    pub(super) stack: Option<StackResult>,
}

/// A stall that begins with this scan.
pub(super) struct NewStall {
    pub(super) poll: StalledPoll,
    /// Without what the scan knows only at its end: the id, the runtime and the requests in flight.
    pub(super) record: Stall,
}

impl NewStall {
    /// The stall that begins with the event of a poll, if one does.
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
        let cause = cause.unwrap_or(Cause::Unknown);
        let record = Stall {
            worker: poll.place.worker.map(|worker| worker as usize),
            duration: Duration::from_nanos(lasted),
            trace_id: (poll.trace != 0).then_some(poll.trace),
            ..Stall::new(handler.into(), cause, clock::wall(poll.since))
        };
        Some(Self { poll, record })
    }
}

impl OpenStall {
    /// Opens the stall of a poll, with its complete record.
    pub(super) fn new(record: Stall, poll: &mut StalledPoll) -> Self {
        let live = Arc::new(LiveStall::new(record));
        if let Some(stack) = poll.stack.take() {
            live.set_stack_result(stack);
        }
        let state = poll.thread.cause_report.as_ref().map(|report| report.state().clone());
        let thread = StalledThread { cause_report: None, ..poll.thread };
        let (runtime, is_request) = (poll.place.runtime, poll.is_request);
        let state = state.unwrap_or_default();
        Self { live, runtime, thread, is_request, in_flight: 0, state, look: None }
    }

    /// Counts the requests that are delayed by now. The number never decreases.
    pub(super) fn count_requests(&mut self, requests: &Requests) {
        self.in_flight = requests.in_flight;
        let mut of_runtime = requests.of_runtime.iter();
        let in_flight = of_runtime.find(|(index, _)| *index == self.runtime);
        let in_flight = in_flight.map_or(0, |(_, in_flight)| *in_flight);
        let others = in_flight.saturating_sub(u64::from(self.is_request));
        if others > self.live.delayed() && !self.live.cause().is_environment() {
            self.live.delay(others);
        }
    }

    /// Updates a stall, if there is one, with what became of its poll.
    pub(super) fn follow(
        stall: &mut Option<Self>,
        event: PollEvent,
        now: Nanos,
        environment: &mut Environment,
        events: &mut Events,
    ) {
        match (event, stall.as_mut()) {
            (PollEvent::Ended(lasted), _) => Self::end(stall, lasted, events),
            (PollEvent::Lasts(lasted), Some(stall)) => {
                stall.live.last(lasted);
                stall.look_on(now, environment, events);
            }
            (PollEvent::Doubled(lasted), Some(stall)) => {
                stall.live.last(lasted);
                stall.double(now, lasted, environment, events);
            }
            _ => {}
        }
    }

    fn double(
        &mut self,
        now: Nanos,
        lasted: Nanos,
        environment: &mut Environment,
        events: &mut Events,
    ) {
        let live = &self.live;
        if live.cause().is_environment() {
            let stall = Arc::clone(live);
            return events.push(Event::StallContinues { stall, thread: None, waits_on: false });
        }
        let state = thread::state(self.thread.id);
        let waits = matches!(state, ThreadState::Call { .. } | ThreadState::Hidden(_));
        let waits_on = waits && state == self.state;
        let asks_again = live.may_have_stack_later() || (waits_on && live.may_have_holder_later());
        let thread = asks_again.then(|| Box::new(self.thread.clone()));
        let stall = Arc::clone(live);
        events.push(Event::StallContinues { stall, thread, waits_on });
        // Without a mark, a stack of the next poll would not be told from one of this.
        if !waits_on && lasted >= LOOKS_FROM && self.thread.poll.is_some() {
            self.look(now, environment);
        }
    }

    /// Begins to look again at what the thread does.
    fn look(&mut self, now: Nanos, environment: &mut Environment) {
        let mut evidence = EvidenceLog::begin(environment);
        evidence.sample(now, self.thread.id, environment);
        self.look = Some(Box::new(Look { since: now, evidence }));
    }

    /// Goes on with a look, and reports what it has found.
    fn look_on(&mut self, now: Nanos, environment: &mut Environment, events: &mut Events) {
        let Some(mut look) = self.look.take() else { return };
        let (thread, watched) = (self.thread.id, now - look.since);
        if watched < LOOK {
            look.evidence.sample(now, thread, environment);
            self.look = Some(look);
            return;
        }
        let excused = look.evidence.classify(now, watched, thread, environment);
        // What it did while it could not run is not known, unless it has waited all the time.
        if excused > watched / 2 && !look.evidence.waited_throughout() {
            return self.look(now, environment);
        }
        if let Some(report) = look.evidence.report {
            self.state = report.state().clone();
            let thread = StalledThread { cause_report: Some(report), ..self.thread.clone() };
            let stall = Arc::clone(&self.live);
            events.push(Event::StallSampled { stall, thread: Box::new(thread) });
        }
    }

    /// Ends a stall, if there is one. It never becomes shorter than it was at the last scan.
    pub(super) fn end(stall: &mut Option<Self>, lasted: Nanos, events: &mut Events) {
        if let Some(stall) = stall.take() {
            stall.live.end(lasted, stall.in_flight);
            events.push(Event::StallEnded(stall.live));
        }
    }
}
