//! A stall that is counted and not over, and what the observer knows of it.

use std::sync::Arc;

use super::policy::Step;
use super::{Found, Observer};
use crate::clock::Nanos;
use crate::detector::ring::{Entry, Taken};
use crate::record::Cause;

#[derive(Debug)]
pub(super) struct OpenStall {
    pub(super) entry: Arc<Entry>,
    /// How much of its time the observer knows of.
    pub(super) told: Nanos,
}

/// A poll that has just become a stall.
pub(super) struct Newly {
    pub(super) whose: Whose,
    /// Its runtime and worker, as slots say it.
    pub(super) runtime: u32,
    pub(super) worker: Option<u32>,
    pub(super) handler: &'static str,
    pub(super) cause: Cause,
    pub(super) since: Nanos,
    pub(super) lasted: Nanos,
    pub(super) trace: u128,
    pub(super) found: Found,
    /// Its stack, where that was wanted to prove it.
    pub(super) taken: Option<Taken>,
}

/// Where the stall is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whose {
    Slot(usize),
    /// By the places of runtime and worker in the lists.
    Worker(usize, usize),
}

/// Tells the observer what has become of a stall.
pub(super) fn heed(observer: &mut dyn Observer, stall: &mut Option<OpenStall>, step: Step) {
    match step {
        Step::None | Step::Counted(_) | Step::Excused(_) => {}
        Step::Ended(lasted) => end(observer, stall, Some(lasted)),
        Step::Lasts(lasted) => tell_time(observer, stall, lasted),
        Step::Doubled(lasted) => {
            tell_time(observer, stall, lasted);
            if let Some(stall) = stall {
                observer.continues(&stall.entry);
            }
        }
    }
}

/// Tells the observer how much longer the stall is than it knows.
pub(super) fn tell_time(observer: &mut dyn Observer, stall: &mut Option<OpenStall>, lasted: Nanos) {
    if let Some(stall) = stall {
        stall.entry.last(lasted);
        observer.stalled(&stall.entry, lasted.saturating_sub(stall.told));
        stall.told = stall.told.max(lasted);
    }
}

/// Closes the record; `lasted` is how long it was in all, if that is more than is known.
pub(super) fn end(
    observer: &mut dyn Observer,
    stall: &mut Option<OpenStall>,
    lasted: Option<Nanos>,
) {
    if let Some(lasted) = lasted {
        tell_time(observer, stall, lasted);
    }
    if let Some(stall) = stall.take() {
        stall.entry.end(stall.told);
        observer.ended(&stall.entry);
    }
}
