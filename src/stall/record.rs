//! The record of a stall: plain data.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::awaits::Awaits;
use super::cause::Cause;
use super::frames::{Site, Stack};
use super::held_by::HeldBy;
use super::later::LaterSample;

/// The reason that stands in a record while its stack is on its way.
pub(super) const PENDING: &str = "the stack is on its way";

/// One stall: a poll that held its thread for longer than the threshold.
///
/// Given out by [`StallDetector::stalls`](crate::StallDetector::stalls) and to
/// [`OnStall`](crate::OnStall) hooks.
///
/// Its texts are [`Cow`]s, a type that every Rust program knows: they compare with a `&str`, deref to
/// one, and go as they are where a `String` or another `Cow` is made from them. Static ones are
/// copied without an allocation, and a record read from elsewhere can own its texts.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// Counts up from 1 within a detector; the `stall` field of the log.
    pub id: u64,
    /// The name of the runtime: `main`, `runtime-2`, or as given to
    /// [`StallDetector::watch`](crate::StallDetector::watch).
    pub runtime: Cow<'static, str>,
    /// The index of the blocked worker as in Tokio's metrics; `None` for a root future.
    pub worker: Option<usize>,
    /// Route template, RPC method or name of the watched future; `environment` if the cause lies
    /// outside the program.
    pub handler: Cow<'static, str>,
    /// What the thread did, or what kept it from running.
    pub cause: Cause,
    /// What it waited for, and how much of the time it could not run: `read of /data/big.csv`,
    /// `recvfrom from 127.0.0.1:5432`. Filled in shortly after the stall was counted, where the
    /// system tells.
    pub detail: Option<String>,
    /// One line on how to fix it: [`Cause::fix`], or something closer to the crate that blocks,
    /// where the stack tells it.
    pub fix: Cow<'static, str>,
    /// When the poll was first seen, at most one scan after its begin.
    pub started_at: SystemTime,
    /// How long the poll has held the thread: so far, or in all once it ended. Never longer
    /// than was seen, so short of the truth by at most one scan.
    pub duration: Duration,
    /// Whether the thread was still blocked at the last scan.
    pub in_progress: bool,
    /// Workers of the runtime.
    pub workers: usize,
    /// How many of them were stalled, this one included, when this stall was counted. Those that
    /// the environment holds up are not.
    pub workers_stalled: usize,
    /// Where in your own code the thread was; `None` where there is no stack, or no frame of
    /// yours on it. Filled in as `detail` is.
    pub site: Option<Site>,
    /// Why there is no site; `None` where there is one.
    pub site_missing: Option<Cow<'static, str>>,
    /// Where the last stall of the same handler and cause was, if this one has no stack because
    /// stacks had used up their CPU time. This one may be somewhere else.
    pub last_seen: Option<Site>,
    /// The stack of the thread when the stall was counted; `None` where it could not be taken.
    pub stack: Option<Arc<Stack>>,
    /// Why there is no stack (yet), only a part of one, or one without lines; else `None`. See
    /// [`is_stack_pending`](Self::is_stack_pending).
    pub stack_missing: Option<Cow<'static, str>>,
    /// How the poll got to what blocks: who awaits whom, as the stack shows it. `None` without a stack, and where no
    /// frame of yours is on it. Stalls that got there the same way may share it.
    pub awaits: Option<Arc<Awaits>>,
    /// Who has the lock that the thread waits for; `None` where that was not looked for. Filled in after
    /// `stack`.
    pub held_by: Option<HeldBy>,
    /// What the thread did later, where that was something else than at the threshold, oldest first. At most 8.
    pub later: Vec<LaterSample>,
    /// See [`is_complete`](Self::is_complete).
    pub(crate) is_complete: bool,
    /// Requests inside the layer when the stall was counted, the blocking one included.
    pub requests_in_flight: u64,
    /// The same when it was over; `None` while it lasts.
    pub requests_in_flight_at_end: Option<u64>,
    /// Other requests on the same runtime that were inside the layer while this lasted, at the scan
    /// with the most of them. An upper bound of those it delayed: other workers may have gone on
    /// with them. 0 for what the environment did.
    pub delayed_requests: u64,
    /// The W3C trace id of the request (32 hexadecimal digits in `traceparent`), or what a
    /// user's function gave; `None` without.
    pub trace_id: Option<u128>,
}

impl Stall {
    /// A stall in progress of which no more is known yet.
    pub(crate) fn new(handler: Cow<'static, str>, cause: Cause, begin: SystemTime) -> Self {
        Self {
            id: 0,
            runtime: "none".into(),
            worker: None,
            handler,
            cause,
            detail: None,
            fix: cause.fix().into(),
            started_at: begin,
            duration: Duration::ZERO,
            in_progress: true,
            workers: 0,
            workers_stalled: 0,
            site: None,
            site_missing: None,
            last_seen: None,
            stack: None,
            stack_missing: None,
            awaits: None,
            held_by: None,
            later: Vec::new(),
            is_complete: false,
            requests_in_flight: 0,
            requests_in_flight_at_end: None,
            delayed_requests: 0,
            trace_id: None,
        }
    }

    /// Whether the stall has ended and everything that will ever be known about it is there.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// The fix of what it did last.
    pub(crate) fn last_fix(&self) -> &Cow<'static, str> {
        self.later.last().map_or(&self.fix, |last| &last.fix)
    }

    /// Who has the lock that it waited for last.
    pub(crate) fn last_held_by(&self) -> Option<&HeldBy> {
        self.later.last().map_or(&self.held_by, |last| &last.held_by).as_ref()
    }

    /// Whether the stack is still on its way: neither it nor the reason why there is none is
    /// known.
    #[must_use]
    pub fn is_stack_pending(&self) -> bool {
        self.stack.is_none() && self.stack_missing.as_deref().is_none_or(|why| why == PENDING)
    }
}
