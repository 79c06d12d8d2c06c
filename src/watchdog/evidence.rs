//! The evidence about one poll that lasts.

use super::environment::{Environment, LostTime};
use crate::cause::{CauseReport, Evidence, telling};
use crate::clock::Nanos;
use crate::procfs::cgroup::ControlGroups;
use crate::procfs::thread::{ThreadSample, ThreadState};

/// What is known of a poll since the first scan that saw it. Its thread is sampled from the second
/// scan on: most polls are over by then.
#[derive(Debug, Default)]
pub(super) struct EvidenceLog {
    /// The environment's lost time when the poll was first seen.
    lost: LostTime,
    first: Option<FirstSample>,
    /// A sample inside a system call, if the thread was running at the first sample.
    between: Option<ThreadSample>,
    last: Option<ThreadSample>,
    /// What [`classify`](Self::classify) found last.
    pub(super) report: Option<CauseReport>,
}

/// The first sample, and the readings at that time.
#[derive(Debug)]
struct FirstSample {
    at: Nanos,
    lost: LostTime,
    sample: ThreadSample,
    quota: ControlGroups,
    throttles: Option<u64>,
}

impl EvidenceLog {
    /// A poll is seen for the first time.
    pub(super) fn begin(environment: &Environment) -> Self {
        Self { lost: environment.lost, ..Self::default() }
    }

    /// The poll is seen again. Returns the environment's share of its time, as far as it is known.
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
        let delayed = self.first.as_ref().map_or(0, |first| first.lost.since(self.lost).delayed);
        delayed + environment.lost.since(self.lost).suspended
    }

    /// The poll has lasted long enough to be a stall: finds the cause. Returns the environment's share
    /// of its time.
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
        let lost_before = first.lost.since(self.lost);
        let evidence = Evidence {
            lasted,
            watched: now - first.at,
            object: telling(&first.sample, self.between.as_ref(), &last).object(),
            first: first.sample.clone(),
            between: self.between.clone(),
            last: last.clone(),
            suspended: environment.lost.since(first.lost).suspended,
            suspended_before: lost_before.suspended,
            delayed_before: lost_before.delayed,
            throttled: throttled.is_some_and(|(now, then)| now > then),
        };
        self.last = Some(last);
        self.report.insert(CauseReport::new(thread, evidence)).classification.excused
    }

    /// Whether the thread has waited in one system call from the first sample to the last.
    pub(super) fn waited_throughout(&self) -> bool {
        let samples = self.first.as_ref().zip(self.last.as_ref());
        samples.is_some_and(|(first, last)| first.sample.is_same_wait(last))
    }
}

impl FirstSample {
    fn new(at: Nanos, thread: u32, environment: &mut Environment) -> Self {
        let quota = environment.quota(at);
        let throttles = quota.throttles();
        Self { at, lost: environment.lost, sample: ThreadSample::take(thread), quota, throttles }
    }
}
