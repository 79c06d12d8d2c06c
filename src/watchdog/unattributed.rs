//! A worker that does not come round its loop while no marked poll says why: what is read of it. The
//! rules are in [`suspicion`](super::rules::suspicion).

use super::environment::Environment;
use super::events::{Event, Events, StalledThread};
use super::evidence::EvidenceLog;
use super::open_stall::OpenStall;
use super::rules::poll::{PollEvent, PollTracker};
use super::rules::suspicion::{Step, StillWorker, Suspicion, Weighed};
use crate::clock::Nanos;
use crate::stall::StackResult;

#[derive(Debug, Default)]
pub(super) struct Unattributed {
    pub(super) stall: Option<OpenStall>,
    suspicion: Suspicion,
    evidence: EvidenceLog,
}

impl Unattributed {
    /// The worker has not come round since the last scan.
    pub(super) fn observe(
        &mut self,
        now: Nanos,
        worker: StillWorker,
        environment: &mut Environment,
        events: &mut Events,
    ) -> PollEvent {
        let Self { stall, suspicion, evidence } = self;
        let step = suspicion.update(now, worker, |lasted| {
            let excused = evidence.classify(now, lasted, worker.thread, environment);
            Weighed { excused, same_wait: evidence.waited_throughout() }
        });
        match step {
            Step::Nothing => {}
            Step::Collect => {
                *evidence = EvidenceLog::begin(environment);
                evidence.sample(now, worker.thread, environment);
            }
            Step::Ask(proof) => events.push(Event::Prove(proof)),
            Step::Poll(event) => {
                OpenStall::follow(stall, event, events);
                return event;
            }
        }
        PollEvent::None
    }

    /// The worker came round (`moved`), or it is known why it does not.
    pub(super) fn clear(&mut self, moved: bool, events: &mut Events) {
        if let Some(lasted) = self.suspicion.clear(moved) {
            OpenStall::end(&mut self.stall, lasted, events);
        }
    }

    /// What the worker may be in, as one poll.
    pub(super) fn tracker(&self) -> &PollTracker {
        self.suspicion.tracker()
    }

    /// Whether it may turn out to be in one poll, and to blame for that.
    pub(super) fn is_undecided(&self) -> bool {
        self.suspicion.is_undecided()
    }

    /// The stack that proved it.
    pub(super) fn stack(&self) -> Option<StackResult> {
        self.suspicion.stack()
    }

    /// What a closer look can start from.
    pub(super) fn thread(&self, id: u32) -> StalledThread {
        StalledThread { id, cause_report: self.evidence.cause_report(), poll: None }
    }
}
