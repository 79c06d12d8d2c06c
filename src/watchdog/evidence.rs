//! The evidence about one poll that lasts.

use super::environment::Environment;
use crate::cause::{CauseReport, Classification, Evidence, telling};
use crate::clock::Nanos;
use crate::procfs::cgroup::Quota;
use crate::procfs::thread::{ThreadSample, ThreadState};

/// What is known of a poll from its first sight on. Its thread is looked at from the second
/// sight on: most polls are over by then.
#[derive(Debug, Default)]
pub(super) struct EvidenceLog {
    /// What the environment had suffered when the poll was first seen.
    suspended: Nanos,
    delayed: Nanos,
    first: Option<FirstSample>,
    /// A look at it within a call, where the first had it awake.
    between: Option<ThreadSample>,
    last: Option<ThreadSample>,
    report: Option<CauseReport>,
}

/// The first look.
#[derive(Debug)]
struct FirstSample {
    at: Nanos,
    suspended: Nanos,
    delayed: Nanos,
    look: ThreadSample,
    quota: Quota,
    throttles: Option<u64>,
}

impl EvidenceLog {
    /// A poll is seen for the first time.
    pub(super) fn open(environment: &Environment) -> Self {
        Self { suspended: environment.suspended, delayed: environment.delayed, ..Self::default() }
    }

    /// It is seen again. Returns how much of the time was not its doing, as far as is known.
    pub(super) fn look(&mut self, now: Nanos, thread: u32, environment: &mut Environment) -> Nanos {
        match &self.first {
            None => self.first = Some(FirstSample::new(now, thread, environment)),
            Some(first) if first.look.now == ThreadState::Running && self.between.is_none() => {
                let look = ThreadSample::take(thread);
                self.between = (look.now != ThreadState::Running).then_some(look);
            }
            Some(_) => {}
        }
        let delayed = self.first.as_ref().map_or(0, |first| first.delayed - self.delayed);
        delayed + (environment.suspended - self.suspended)
    }

    /// It has lasted long enough to be a stall. Returns how much of the time was not its doing.
    pub(super) fn weigh(
        &mut self,
        now: Nanos,
        lasted: Nanos,
        thread: u32,
        environment: &mut Environment,
    ) -> Nanos {
        let first = self.first.get_or_insert_with(|| FirstSample::new(now, thread, environment));
        let last = if now > first.at { ThreadSample::take(thread) } else { first.look.clone() };
        let throttled = first.quota.throttles().zip(first.throttles);
        let evidence = Evidence {
            lasted,
            watched: now - first.at,
            object: telling(&first.look, self.between.as_ref(), &last).object(),
            first: first.look.clone(),
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

    /// What was report when it was last weighed.
    pub(super) fn classification(&self) -> Option<Classification> {
        self.report.as_ref().map(|cause_report| cause_report.classification)
    }

    /// Whether its thread waited in one and the same call between the first look and the last.
    pub(super) fn waited_throughout(&self) -> bool {
        let first = self.first.as_ref().map(|first| &first.look);
        first.zip(self.last.as_ref()).is_some_and(|(first, last)| first.is_same_wait(last))
    }

    /// What a closer look can start from.
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
            look: ThreadSample::take(thread),
            quota,
            throttles,
        }
    }
}
