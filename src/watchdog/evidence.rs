//! The evidence about one poll that lasts.

use super::environment::Environment;
use crate::cause::{CauseReport, Evidence, telling};
use crate::clock::Nanos;
use crate::procfs::cgroup::ControlGroups;
use crate::procfs::thread::{ThreadSample, ThreadState};

/// What is known of a poll from the scan on that first saw it. Its thread is sampled from the second
/// scan on: most polls are over by then.
#[derive(Debug, Default)]
pub(super) struct EvidenceLog {
    /// What the environment had suffered when the poll was first seen.
    suspended: Nanos,
    delayed: Nanos,
    first: Option<FirstSample>,
    /// A sample within a system call, where the first had the thread awake.
    between: Option<ThreadSample>,
    last: Option<ThreadSample>,
    report: Option<CauseReport>,
}

/// The first sample, and what to subtract from later readings.
#[derive(Debug)]
struct FirstSample {
    at: Nanos,
    suspended: Nanos,
    delayed: Nanos,
    sample: ThreadSample,
    quota: ControlGroups,
    throttles: Option<u64>,
}

impl EvidenceLog {
    /// A poll is seen for the first time.
    pub(super) fn begin(environment: &Environment) -> Self {
        Self { suspended: environment.suspended, delayed: environment.delayed, ..Self::default() }
    }

    /// It is seen again. Returns how much of its time was the environment's, as far as is known.
    pub(super) fn sample(
        &mut self,
        now: Nanos,
        thread: u32,
        environment: &mut Environment,
    ) -> Nanos {
        match &self.first {
            None => self.first = Some(FirstSample::new(now, thread, environment)),
            Some(first) if first.sample.now == ThreadState::Running && self.between.is_none() => {
                let sample = ThreadSample::take(thread);
                self.between = (sample.now != ThreadState::Running).then_some(sample);
            }
            Some(_) => {}
        }
        let delayed = self.first.as_ref().map_or(0, |first| first.delayed - self.delayed);
        delayed + (environment.suspended - self.suspended)
    }

    /// It has lasted long enough to be a stall: finds the cause. Returns how much of its time was the
    /// environment's.
    pub(super) fn classify(
        &mut self,
        now: Nanos,
        lasted: Nanos,
        thread: u32,
        environment: &mut Environment,
    ) -> Nanos {
        let first = self.first.get_or_insert_with(|| FirstSample::new(now, thread, environment));
        let last = if now > first.at { ThreadSample::take(thread) } else { first.sample.clone() };
        let throttled = first.quota.throttles().zip(first.throttles);
        let evidence = Evidence {
            lasted,
            watched: now - first.at,
            object: telling(&first.sample, self.between.as_ref(), &last).object(),
            first: first.sample.clone(),
            between: self.between.clone(),
            last: last.clone(),
            suspended: environment.suspended - first.suspended,
            suspended_before: first.suspended - self.suspended,
            delayed_before: first.delayed - self.delayed,
            throttled: throttled.is_some_and(|(now, then)| now > then),
        };
        self.last = Some(last);
        self.report.insert(CauseReport::new(thread, evidence)).classification.excused
    }

    /// Whether its thread has waited in one system call from the first sample to the last.
    pub(super) fn waited_throughout(&self) -> bool {
        let first = self.first.as_ref().map(|first| &first.sample);
        first.zip(self.last.as_ref()).is_some_and(|(first, last)| first.is_same_wait(last))
    }

    /// What [`classify`](Self::classify) found last.
    pub(super) fn cause_report(&self) -> Option<CauseReport> {
        self.report.clone()
    }
}

impl FirstSample {
    fn new(at: Nanos, thread: u32, environment: &mut Environment) -> Self {
        let quota = environment.quota(at);
        let throttles = quota.throttles();
        Self {
            at,
            suspended: environment.suspended,
            delayed: environment.delayed,
            sample: ThreadSample::take(thread),
            quota,
            throttles,
        }
    }
}
