//! A stall that may still last: what was known when it was counted, and what still moves.

use std::borrow::Cow;
use std::sync::OnceLock;
use std::time::Duration;

use super::cause::Cause;
use super::record::{PENDING, Stall};
use super::stack_result::{NO_OWN_FRAME, NO_REASON, StackResult};
use crate::clock::{Nanos, nanos};
use crate::label::interned;
use crate::sync::{AtomicU64, Ordering};

use Ordering::{Acquire, Release};

/// A stall in the store: what was known when it was counted, and what still moves.
#[derive(Debug)]
pub(crate) struct LiveStall {
    counted: Stall,
    /// `None` inside where the system tells nothing.
    detail: OnceLock<Option<String>>,
    stack_result: OnceLock<StackResult>,
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
            detail: OnceLock::new(),
            stack_result: OnceLock::new(),
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

    /// Says how long it has lasted by now. It never becomes shorter.
    pub(crate) fn last(&self, lasted: Nanos) {
        self.lasted.fetch_max(lasted, Release);
    }

    /// How long it has lasted as far as is known.
    pub(crate) fn lasted(&self) -> Nanos {
        self.lasted.load(Acquire)
    }

    /// Says what the thread waits for, or that the system does not tell.
    pub(crate) fn set_detail(&self, detail: Option<String>) {
        // The first to know is right.
        drop(self.detail.set(detail));
    }

    /// Says where the thread was.
    pub(crate) fn set_stack_result(&self, result: StackResult) {
        // The first to know is right.
        drop(self.stack_result.set(result));
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
        let result = self.stack_result.get().cloned();
        let is_complete = !in_progress && result.is_some() && self.detail.get().is_some();
        let StackResult { site, fix, given, stack, missing } =
            result.unwrap_or_else(|| StackResult::missing(PENDING));
        let stack_missing = missing.or(stack.is_none().then_some(NO_REASON));
        let no_site = stack_missing.filter(|_| stack.is_none()).unwrap_or(NO_OWN_FRAME);
        let site_missing = site.is_none().then_some(no_site.into());
        let detail = self.detail.get().and_then(Option::as_deref);
        let mut stall = Stall {
            duration: Duration::from_nanos(self.lasted()),
            in_progress,
            detail: detail.map(|detail| with_given(detail, given)),
            site,
            site_missing,
            stack,
            stack_missing: stack_missing.map(Cow::Borrowed),
            is_complete,
            requests_in_flight_at_end,
            delayed_requests: self.delayed(),
            ..self.counted.clone()
        };
        if let Some(fix) = fix {
            stall.fix = fix.into();
        }
        stall
    }
}

/// Puts what the call was given after its name. The call comes first in `detail`; the thread may be
/// in another by the time of the stack.
fn with_given(detail: &str, given: Option<(&str, String)>) -> String {
    let with = given.and_then(|(call, given)| {
        let rest = detail.strip_prefix(call)?;
        (rest.is_empty() || rest.starts_with(", ")).then(|| format!("{call}{given}{rest}"))
    });
    with.unwrap_or_else(|| detail.to_owned())
}
