//! A stall that may still last: what was known when it was counted, and what still moves.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use super::cause::Cause;
use super::frames::Site;
use super::held_by::HeldBy;
use super::hints::{Hints, Situation};
use super::later::{LiveHolder, LiveSample, fix};
use super::record::{PENDING, Stall};
use super::stack_result::{NO_OWN_FRAME, NO_REASON, StackResult};
use crate::clock::{Nanos, nanos};
use crate::label::interned;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

use Ordering::{Acquire, Release};

/// Later samples of a stall that are kept. One for each doubling from 1 s on, they reach to 200 s.
const MOST_SAMPLES: usize = 8;

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
    holder: LiveHolder,
    /// What it did later, where that was something else, oldest first.
    later: [OnceLock<Box<LiveSample>>; MOST_SAMPLES],
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
            holder: LiveHolder::default(),
            later: Default::default(),
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

    /// Adds what it does by now, and says whether that is something else than before. There is no more to it
    /// once it is over.
    pub(crate) fn add_sample(&self, sample: LiveSample) -> bool {
        let (cause, site) = match self.last_sample() {
            Some(last) => (last.cause(), last.site()),
            None => (self.cause(), self.result().and_then(|result| result.site.as_ref())),
        };
        let is_new = !sample.is_like(cause, site) && !self.is_ended();
        let place = self.later.iter().find(|place| place.get().is_none());
        is_new && place.is_some_and(|place| place.set(Box::new(sample)).is_ok())
    }

    fn samples(&self) -> impl DoubleEndedIterator<Item = &LiveSample> {
        self.later.iter().filter_map(|place| place.get().map(Box::as_ref))
    }

    fn last_sample(&self) -> Option<&LiveSample> {
        self.samples().next_back()
    }

    /// Says that it is being found out who has what the thread waits for. Returns how many later samples
    /// there are.
    pub(crate) fn want_holder(&self) -> usize {
        self.wants_holder.store(true, Release);
        self.samples().count()
    }

    /// Says who has what the thread waits for, or that this was not found out. It may be later. The answer is
    /// that of another wait if there are not `so_many` later samples.
    pub(crate) fn set_held_by(&self, held_by: Option<HeldBy>, so_many: &RangeInclusive<usize>) {
        let (cause, holder) = self.last_wait();
        if let Some(held_by) = held_by
            && cause == Cause::Lock
            && so_many.contains(&self.samples().count())
        {
            holder.set(held_by);
        }
        self.wants_holder.store(false, Release);
    }

    /// Whether it makes sense to find out who has what the thread waits for.
    pub(crate) fn may_have_holder_later(&self) -> bool {
        let (cause, holder) = self.last_wait();
        cause == Cause::Lock && !holder.is_known() && !self.wants_holder.load(Acquire)
    }

    /// Its last cause, and who has what it waits for.
    fn last_wait(&self) -> (Cause, &LiveHolder) {
        match self.last_sample() {
            Some(last) => (last.cause(), &last.holder),
            None => (self.cause(), &self.holder),
        }
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
        let held_by = self.holder.get().cloned();
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
            later: self.samples().map(LiveSample::sample).collect(),
            is_complete,
            requests_in_flight_at_end,
            delayed_requests: self.delayed(),
            ..self.counted.clone()
        };
        if !stall.cause.is_environment() {
            let known = self.situation.get().filter(|known| known.cause() == stall.cause);
            let situation = known.copied().unwrap_or(Situation::Of(stall.cause));
            stall.fix = fix(situation, hints, stall.held_by.as_ref()).into();
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
    use crate::stall::{Degree, Holder};

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
            live.set_held_by(said, &(0..=0));
            assert_eq!(held_by(&live), holder);
            assert_eq!(live.may_have_holder_later(), holder != Some(Holder::Deadlock));
        }
        let slept = Stall::new("GET /".into(), Cause::Sleep, SystemTime::UNIX_EPOCH);
        assert!(!LiveStall::new(slept).may_have_holder_later());
    }

    fn sample(cause: Cause, function: &str) -> LiveSample {
        let site = Site { function: function.into(), file: None, line: None };
        let result = StackResult { site: Some(site), ..StackResult::default() };
        LiveSample::new(Duration::from_secs(2), Situation::Of(cause), None, result)
    }

    #[test]
    fn what_it_does_later_stands_beside_what_it_did_first() {
        let slept = Stall::new("GET /".into(), Cause::Sleep, SystemTime::UNIX_EPOCH);
        let live = LiveStall::new(slept);
        live.set_stack_result(sample(Cause::Sleep, "app::pause").result());
        assert!(!live.add_sample(sample(Cause::Sleep, "app::pause")), "it is the same");
        assert!(live.add_sample(sample(Cause::Lock, "app::report")));
        assert!(!live.add_sample(sample(Cause::Lock, "app::report")), "it is the same as before");
        assert!(live.add_sample(sample(Cause::Sleep, "app::pause")), "it is back");
        let stall = live.stall();
        assert_eq!((stall.cause, &*stall.fix), (Cause::Sleep, Cause::Sleep.fix()));
        let later: Vec<_> = stall.later.iter().map(|later| (later.cause, &*later.fix)).collect();
        assert_eq!(later, [Cause::Lock, Cause::Sleep].map(|cause| (cause, cause.fix())));
        for _ in 0..MOST_SAMPLES {
            live.add_sample(sample(Cause::Lock, "app::report"));
            live.add_sample(sample(Cause::Sleep, "app::pause"));
        }
        assert_eq!(live.stall().later.len(), MOST_SAMPLES);

        let ended = LiveStall::new(Stall::new("GET /".into(), Cause::Cpu, SystemTime::UNIX_EPOCH));
        ended.end(1, 0);
        assert!(!ended.add_sample(sample(Cause::Lock, "app::report")));
    }

    #[test]
    fn a_holder_is_that_of_the_wait_that_it_was_looked_for() {
        let deadlock = || Some(HeldBy::new(Holder::Deadlock, Degree::Certain));
        let slept = Stall::new("GET /".into(), Cause::Sleep, SystemTime::UNIX_EPOCH);
        let live = LiveStall::new(slept);
        // Asked for together with a sample that is not there yet.
        let so_many = live.want_holder();
        assert!(live.add_sample(sample(Cause::Lock, "app::report")));
        live.set_held_by(deadlock(), &(so_many..=so_many + 1));
        let held_by = |stall: Stall| stall.later[0].held_by.clone().map(|held_by| held_by.holder);
        assert_eq!(held_by(live.stall()), Some(Holder::Deadlock));
        assert_eq!(live.stall().later[0].fix, HeldBy::fix(&deadlock().expect("one")).expect("one"));
        assert_eq!(live.stall().held_by, None, "not of the sleep");
        assert!(!live.may_have_holder_later());

        let live = LiveStall::new(Stall::new("GET /".into(), Cause::Lock, SystemTime::UNIX_EPOCH));
        let so_many = live.want_holder();
        assert!(live.add_sample(sample(Cause::Lock, "app::report")));
        live.set_held_by(deadlock(), &(so_many..=so_many));
        assert_eq!(held_by(live.stall()), None, "it was in another wait by then");
        assert!(live.may_have_holder_later());
    }
}
