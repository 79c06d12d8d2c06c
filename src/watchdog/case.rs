//! The evidence about one poll that lasts.

use super::machine::Machine;
use crate::causes::{Clue, Evidence, Look, Now, Quota, Verdict, telling};
use crate::clock::Nanos;

/// What is known of a poll from its first sight on. Its thread is looked at from the second
/// sight on: most polls are over by then.
#[derive(Debug, Default)]
pub(super) struct Case {
    /// What the machine had suffered when the poll was first seen.
    suspended: Nanos,
    delayed: Nanos,
    base: Option<Base>,
    /// A look at it within a call, where the first had it awake.
    between: Option<Look>,
    last: Option<Look>,
    found: Option<Clue>,
}

/// The first look.
#[derive(Debug)]
struct Base {
    at: Nanos,
    suspended: Nanos,
    delayed: Nanos,
    look: Look,
    quota: Quota,
    throttles: Option<u64>,
}

impl Case {
    /// A poll is seen for the first time.
    pub(super) fn open(machine: &Machine) -> Self {
        Self { suspended: machine.suspended, delayed: machine.delayed, ..Self::default() }
    }

    /// It is seen again. Returns how much of the time was not its doing, as far as is known.
    pub(super) fn look(&mut self, now: Nanos, thread: u32, machine: &mut Machine) -> Nanos {
        match &self.base {
            None => self.base = Some(Base::new(now, thread, machine)),
            Some(base) if base.look.now == Now::Running && self.between.is_none() => {
                let look = Look::at(thread);
                self.between = (look.now != Now::Running).then_some(look);
            }
            Some(_) => {}
        }
        let delayed = self.base.as_ref().map_or(0, |base| base.delayed - self.delayed);
        delayed + (machine.suspended - self.suspended)
    }

    /// It has lasted long enough to be a stall. Returns how much of the time was not its doing.
    pub(super) fn weigh(
        &mut self,
        now: Nanos,
        lasted: Nanos,
        thread: u32,
        machine: &mut Machine,
    ) -> Nanos {
        let base = self.base.get_or_insert_with(|| Base::new(now, thread, machine));
        let last = if now > base.at { Look::at(thread) } else { base.look.clone() };
        let throttled = base.quota.throttles().zip(base.throttles);
        let evidence = Evidence {
            lasted,
            watched: now - base.at,
            object: telling(&base.look, self.between.as_ref(), &last).object(),
            first: base.look.clone(),
            between: self.between.clone(),
            last: last.clone(),
            suspended: machine.suspended - base.suspended,
            suspended_before: base.suspended - self.suspended,
            delayed_before: base.delayed - self.delayed,
            throttled: throttled.is_some_and(|(now, then)| now > then),
        };
        self.last = Some(last);
        self.found.insert(Clue::new(thread, evidence)).verdict.excused
    }

    /// What was found when it was last weighed.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.found.as_ref().map(|clue| clue.verdict)
    }

    /// Whether its thread waited in one and the same call between the first look and the last.
    pub(super) fn waited_throughout(&self) -> bool {
        let first = self.base.as_ref().map(|base| &base.look);
        first.zip(self.last.as_ref()).is_some_and(|(first, last)| first.is_same_wait(last))
    }

    /// What a closer look can start from.
    pub(super) fn clue(&self) -> Option<Clue> {
        self.found.clone()
    }
}

impl Base {
    fn new(at: Nanos, thread: u32, machine: &mut Machine) -> Self {
        let quota = machine.quota(at);
        let throttles = quota.throttles();
        Self {
            at,
            suspended: machine.suspended,
            delayed: machine.delayed,
            look: Look::at(thread),
            quota,
            throttles,
        }
    }
}
