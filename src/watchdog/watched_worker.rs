//! What the watchdog knows of one worker. The rules for one that makes no progress while no marked
//! poll explains it are in [`suspicion`](super::rules::suspicion).

use super::environment::Environment;
use super::events::{Event, Events, StalledThread};
use super::evidence::EvidenceLog;
use super::open_stall::OpenStall;
use super::rules::cpu_wait::CpuWait;
use super::rules::poll::PollEvent;
use super::rules::suspicion::{EndedStall, Step, StillWorker, Suspicion, Weighed};
use crate::cause::CauseReport;
use crate::clock::Nanos;
use crate::runtime::WorkerCounters;

#[derive(Default)]
pub(super) struct WatchedWorker {
    pub(super) counters: WorkerCounters,
    pub(super) unchanged_since: Nanos,
    /// Whether a stall, the environment or an allowed block is why it makes no progress.
    pub(super) explained: bool,
    /// Whether a marked poll that was seen before holds it, however short.
    pub(super) held: bool,
    /// Whether a marked poll is on it, also one that is seen for the first time.
    pub(super) polled: bool,
    /// Whether it was explained or polled at the last scan.
    was_explained: bool,
    pub(super) cpu_wait: CpuWait,
    pub(super) suspicion: Suspicion,
    evidence: EvidenceLog,
    /// Of a poll that was over before it was proven.
    ended_report: Option<CauseReport>,
    pub(super) stall: Option<OpenStall>,
}

impl WatchedWorker {
    /// Begins a scan.
    pub(super) fn read(&mut self, now: Nanos, counters: WorkerCounters) {
        self.was_explained = self.explained || self.polled;
        (self.explained, self.held, self.polled) = (false, false, false);
        if counters != self.counters || self.unchanged_since == 0 {
            (self.counters, self.unchanged_since) = (counters, now);
        }
    }

    /// Whether it is not parked, and was not at the last scan with the same counters.
    pub(super) fn has_not_moved(&self, now: Nanos) -> bool {
        !self.counters.is_parked() && now > self.unchanged_since
    }

    /// Whether it is awake and has made no progress for at least `time`.
    pub(super) fn stands_still(&self, now: Nanos, time: Nanos) -> bool {
        let waits = self.counters.is_parked() || self.counters.is_fresh();
        !waits && now.saturating_sub(self.unchanged_since) >= time
    }

    /// Whether it has made no progress for that time, and nothing is known that explains it.
    pub(super) fn stands_still_for_no_reason(&self, now: Nanos, time: Nanos) -> bool {
        let is_explained = self.explained || self.polled || self.was_explained;
        !is_explained && self.stands_still(now, time)
    }

    /// No marked poll explains why the worker makes no progress.
    pub(super) fn suspect(
        &mut self,
        worker: StillWorker,
        environment: &mut Environment,
        events: &mut Events,
    ) -> PollEvent {
        let Self { suspicion, evidence, ended_report, .. } = self;
        let awaited = suspicion.awaits_names();
        // As it was at the last scan, should the poll be over by now.
        let report = suspicion.may_await_names().then(|| evidence.report.clone()).flatten();
        let step = suspicion.update(worker, |lasted| {
            let excused = evidence.classify(worker.now, lasted, worker.thread, environment);
            Weighed { excused, same_wait: evidence.waited_throughout() }
        });
        if !awaited && suspicion.awaits_names() {
            *ended_report = report;
        }
        if matches!(step, Step::Collect | Step::CollectAndAsk(_)) {
            *evidence = EvidenceLog::begin(environment);
            evidence.sample(worker.now, worker.thread, environment);
        }
        match step {
            Step::Nothing | Step::Collect => {}
            Step::Ask(proof) | Step::CollectAndAsk(proof) => events.push(Event::Prove(proof)),
            Step::Poll(event) => return event,
        }
        PollEvent::None
    }

    /// The worker makes progress, or it is known why it does not.
    pub(super) fn clear(&mut self, now: Nanos, threshold: Nanos, events: &mut Events) {
        let awaited = self.suspicion.awaits_names();
        if let Some(lasted) = self.suspicion.clear(self.unchanged_since == now, threshold) {
            OpenStall::end(&mut self.stall, lasted, events);
        }
        if !awaited && self.suspicion.awaits_names() {
            self.ended_report = self.evidence.report.take();
        }
    }

    /// A stall that is over and was proven only now, and its thread.
    pub(super) fn ended_stall(&mut self, now: Nanos) -> Option<(EndedStall, StalledThread)> {
        let ended = self.suspicion.ended_stall(now)?;
        let cause_report = self.ended_report.take();
        let thread = StalledThread { id: ended.thread, cause_report, poll: None };
        Some((ended, thread))
    }

    pub(super) fn thread(&self, id: u32) -> StalledThread {
        StalledThread { id, cause_report: self.evidence.report.clone(), poll: None }
    }
}
