//! A stall that may still last: what was known when it was counted, and what still moves.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::cause::Cause;
use super::frames::Site;
use super::held_by::{Degree, HeldBy};
use super::hints::{Hints, Situation};
use super::record::{PENDING, Stall};
use super::stack_result::{NO_OWN_FRAME, NO_REASON, StackResult};
use crate::clock::{Nanos, nanos};
use crate::label::interned;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

use Ordering::{Acquire, Release};

/// A stall in the store: what was known when it was counted, and what still moves.
#[derive(Debug)]
pub(crate) struct LiveStall {
    counted: Stall,
    /// That of the cause, if nothing closer is known.
    situation: OnceLock<Situation>,
    /// `None` inside where the system tells nothing.
    detail: OnceLock<Option<String>>,
    /// What is known of its stack before all of it has names: the site.
    located: OnceLock<StackResult>,
    stack_result: OnceLock<StackResult>,
    /// The stack of a later attempt, if the first had none.
    later_result: OnceLock<StackResult>,
    /// Whether it is being found out who has what the thread waits for.
    wants_holder: AtomicBool,
    /// What was found out first, if that is not known.
    holder_unknown: OnceLock<HeldBy>,
    held_by: OnceLock<HeldBy>,
    lasted: AtomicU64,
    delayed: AtomicU64,
    /// Requests in flight at its end; not there before.
    ended: OnceLock<u64>,
}

impl LiveStall {
    pub(crate) fn new(counted: Stall) -> Self {
        let lasted = AtomicU64::new(nanos(counted.duration));
        Self {
            counted,
            situation: OnceLock::new(),
            detail: OnceLock::new(),
            located: OnceLock::new(),
            stack_result: OnceLock::new(),
            later_result: OnceLock::new(),
            wants_holder: AtomicBool::new(false),
            holder_unknown: OnceLock::new(),
            held_by: OnceLock::new(),
            lasted,
            delayed: AtomicU64::new(0),
            ended: OnceLock::new(),
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.counted.id
    }

    pub(crate) fn cause(&self) -> Cause {
        self.counted.cause
    }

    pub(crate) fn worker(&self) -> Option<usize> {
        self.counted.worker
    }

    pub(crate) fn is_on(&self, runtime: &str) -> bool {
        self.counted.runtime == runtime
    }

    pub(crate) fn started_at(&self) -> SystemTime {
        self.counted.started_at
    }

    /// Up to when it has lasted as far as is known.
    pub(crate) fn ended_at(&self) -> SystemTime {
        self.started_at() + Duration::from_nanos(self.lasted())
    }

    /// Says how long it has lasted by now. It never becomes shorter.
    pub(crate) fn last(&self, lasted: Nanos) {
        self.lasted.fetch_max(lasted, Release);
    }

    /// How long it has lasted as far as is known.
    pub(crate) fn lasted(&self) -> Nanos {
        self.lasted.load(Acquire)
    }

    /// Says what the fix depends on.
    pub(crate) fn set_situation(&self, situation: Situation) {
        // The first to know is right.
        let _ = self.situation.set(situation);
    }

    /// Says what the thread waits for, or that the system does not tell.
    pub(crate) fn set_detail(&self, detail: Option<String>) {
        // The first to know is right.
        drop(self.detail.set(detail));
    }

    /// Says that it is being found out who has what the thread waits for.
    pub(crate) fn want_holder(&self) {
        self.wants_holder.store(true, Release);
    }

    /// Says who has what the thread waits for, or that this was not found out. It may be later.
    pub(crate) fn set_held_by(&self, held_by: Option<HeldBy>) {
        if let Some(held_by) = held_by {
            let is_known = held_by.degree != Degree::Unknown;
            // The first to know is right.
            drop(if is_known { &self.held_by } else { &self.holder_unknown }.set(held_by));
        }
        self.wants_holder.store(false, Release);
    }

    /// Whether it makes sense to find out who has what the thread waits for.
    pub(crate) fn may_have_holder_later(&self) -> bool {
        self.cause() == Cause::Lock
            && self.held_by.get().is_none()
            && !self.wants_holder.load(Acquire)
    }

    /// Says where the thread was, while further frames are still without names.
    pub(crate) fn locate(&self, site: Site, hints: Hints) {
        let located = StackResult { site: Some(site), hints, ..StackResult::missing(PENDING) };
        // The first to know is right.
        drop(self.located.set(located));
    }

    /// Sets the stack, or says why there is none. A stack may come later if there was none.
    pub(crate) fn set_stack_result(&self, result: StackResult) {
        let has_stack = result.stack.is_some();
        if let Err(result) = self.stack_result.set(result)
            && has_stack
            && self.may_have_stack_later()
        {
            drop(self.later_result.set(result));
        }
    }

    /// Whether it makes sense to ask for its stack again.
    pub(crate) fn may_have_stack_later(&self) -> bool {
        self.later_result.get().is_none()
            && self.stack_result.get().is_some_and(|result| result.may_come)
    }

    /// Whether its site is known, or that it will never be.
    pub(crate) fn is_site_final(&self) -> bool {
        let is_last = !self.may_have_stack_later() || self.is_ended();
        self.cause().is_environment() || self.has_site() || self.has_stack_result() && is_last
    }

    pub(crate) fn has_site(&self) -> bool {
        self.result().is_some_and(|result| result.site.is_some())
    }

    /// What is known of its stack.
    fn result(&self) -> Option<&StackResult> {
        let last = self.later_result.get().or_else(|| self.stack_result.get());
        last.or_else(|| self.located.get())
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Whether it is known what came of its stack.
    pub(crate) fn has_stack_result(&self) -> bool {
        self.stack_result.get().is_some()
    }

    pub(crate) fn handler(&self) -> &'static str {
        interned(self.counted.handler.clone())
    }

    pub(crate) fn runtime(&self) -> &'static str {
        interned(self.counted.runtime.clone())
    }

    /// Other requests that it has held up by now.
    pub(crate) fn delayed(&self) -> u64 {
        self.delayed.load(Acquire)
    }

    /// Says how many other requests it has held up by now.
    pub(crate) fn delay(&self, requests: u64) {
        self.delayed.store(requests, Release);
    }

    pub(crate) fn end(&self, lasted: Nanos, requests_in_flight: u64) {
        self.last(lasted);
        // It ends once.
        let _ = self.ended.set(requests_in_flight);
    }

    /// The stall as it stands.
    pub(crate) fn stall(&self) -> Stall {
        // First: after the end the rest no longer moves.
        let requests_in_flight_at_end = self.ended.get().copied();
        let in_progress = requests_in_flight_at_end.is_none();
        let has_result = self.has_stack_result();
        let has_holder = !self.wants_holder.load(Acquire);
        let is_complete = !in_progress && has_result && has_holder && self.detail.get().is_some();
        let held_by = self.held_by.get().or_else(|| self.holder_unknown.get()).cloned();
        let result = self.result().cloned();
        let StackResult { site, no_site, hints, given, stack, awaits, missing, last_seen, .. } =
            result.unwrap_or_else(|| StackResult::missing(PENDING));
        let stack_missing = missing.or(stack.is_none().then_some(NO_REASON));
        let no_stack = stack_missing.filter(|_| stack.is_none());
        let no_site = no_stack.or(no_site).unwrap_or(NO_OWN_FRAME);
        let site_missing = site.is_none().then_some(no_site.into());
        let detail = self.detail.get().and_then(Option::as_deref);
        let mut stall = Stall {
            duration: Duration::from_nanos(self.lasted()),
            in_progress,
            detail: detail.map(|detail| with_given(detail, given)),
            site,
            site_missing,
            last_seen,
            stack,
            stack_missing: stack_missing.map(Cow::Borrowed),
            awaits,
            held_by,
            is_complete,
            requests_in_flight_at_end,
            delayed_requests: self.delayed(),
            ..self.counted.clone()
        };
        if !stall.cause.is_environment() {
            let known = self.situation.get().filter(|known| known.cause() == stall.cause);
            let situation = known.copied().unwrap_or(Situation::Of(stall.cause));
            let by_holder = stall.held_by.as_ref().and_then(HeldBy::fix);
            let fix = by_holder.or_else(|| hints.fix(situation));
            stall.fix = fix.unwrap_or(situation.fix()).into();
        }
        stall
    }
}

/// Puts what the call was given after its name. The call comes first in `detail`; the thread may be
/// in another by the time of the stack.
fn with_given(detail: &str, given: Option<(&str, String)>) -> String {
    let with = given.and_then(|(call, given)| {
        let rest = detail.strip_prefix(call)?;
        (rest.is_empty() || rest.starts_with(", ") || rest.starts_with("; "))
            .then(|| format!("{call}{given}{rest}"))
    });
    with.unwrap_or_else(|| detail.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stall::Holder;

    #[test]
    fn an_answer_is_never_overwritten_by_none() {
        let live = LiveStall::new(Stall::new("GET /".into(), Cause::Lock, SystemTime::UNIX_EPOCH));
        let held_by = |live: &LiveStall| live.stall().held_by.map(|held_by| held_by.holder);
        let unknown = || Some(HeldBy::new(Holder::Unknown, Degree::Unknown));
        let deadlock = || Some(HeldBy::new(Holder::Deadlock, Degree::Certain));
        assert!(live.may_have_holder_later() && held_by(&live).is_none());
        live.want_holder();
        assert!(!live.may_have_holder_later(), "it is being found out");
        for (said, holder) in [
            (None, None),
            (unknown(), Some(Holder::Unknown)),
            (None, Some(Holder::Unknown)),
            (deadlock(), Some(Holder::Deadlock)),
            (unknown(), Some(Holder::Deadlock)),
            (None, Some(Holder::Deadlock)),
        ] {
            live.want_holder();
            live.set_held_by(said);
            assert_eq!(held_by(&live), holder);
            assert_eq!(live.may_have_holder_later(), holder != Some(Holder::Deadlock));
        }
        let slept = Stall::new("GET /".into(), Cause::Sleep, SystemTime::UNIX_EPOCH);
        assert!(!LiveStall::new(slept).may_have_holder_later());
    }
}
