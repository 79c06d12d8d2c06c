//! A stall that may still last: what was known when it was counted, and what still moves.

use std::sync::OnceLock;
use std::time::Duration;

use super::cause::Cause;
use super::record::{PENDING, Stall};
use super::stack_result::{NO_OWN_FRAME, NO_REASON, StackResult};
use crate::clock::{Nanos, nanos};
use crate::sync::{AtomicU64, Ordering};

use Ordering::{Acquire, Release};

/// A stall in the store: what was known when it was counted, and what still moves.
#[derive(Debug)]
pub(crate) struct LiveStall {
    counted: Stall,
    /// `None` inside where the system tells nothing.
    detail: OnceLock<Option<String>>,
    taken: OnceLock<StackResult>,
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
            taken: OnceLock::new(),
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
    pub(crate) fn set_stack_result(&self, taken: StackResult) {
        // The first to know is right.
        drop(self.taken.set(taken));
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get().is_some()
    }

    /// Whether it is known what came of its stack.
    pub(crate) fn has_stack_result(&self) -> bool {
        self.taken.get().is_some()
    }

    pub(crate) fn handler(&self) -> &'static str {
        self.counted.handler
    }

    pub(crate) fn runtime(&self) -> &'static str {
        self.counted.runtime
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
        let requests_in_flight_at_end = self.ended.get().copied();
        let in_progress = requests_in_flight_at_end.is_none();
        let delayed_requests = self.delayed.load(Acquire);
        let duration = Duration::from_nanos(self.lasted.load(Acquire));
        let answer = self.taken.get().cloned();
        let is_complete = !in_progress && answer.is_some() && self.detail.get().is_some();
        let answer = answer.unwrap_or_else(|| StackResult::missing(PENDING));
        let StackResult { site, fix, given, stack, missing: stack_missing } = answer;
        let stack_missing = stack_missing.or(stack.is_none().then_some(NO_REASON));
        let no_site =
            if stack.is_some() { NO_OWN_FRAME } else { stack_missing.unwrap_or(NO_REASON) };
        let detail = self.detail.get().and_then(Option::as_ref).map(|detail| match &given {
            // The call comes first; the thread may be in another by the time of the stack.
            Some((call, given)) => match detail.strip_prefix(call) {
                Some(rest) if rest.is_empty() || rest.starts_with(", ") => {
                    format!("{call}{given}{rest}")
                }
                _ => detail.clone(),
            },
            None => detail.clone(),
        });
        let site_missing = site.is_none().then_some(no_site);
        let counted = self.counted.clone();
        let fix = fix.unwrap_or(counted.fix);
        Stall {
            duration,
            in_progress,
            detail,
            fix,
            site,
            stack,
            stack_missing,
            site_missing,
            is_complete,
            requests_in_flight_at_end,
            delayed_requests,
            ..counted
        }
    }
}
