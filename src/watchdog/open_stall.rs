//! A stall that is counted and not over, and what the observer knows of it.

use std::sync::Arc;

use super::rules::poll::PollEvent;
use super::{FoundStall, Observer};
use crate::clock::Nanos;
use crate::stall::Cause;
use crate::stall::{LiveStall, StackResult};

#[derive(Debug)]
pub(super) struct OpenStall {
    pub(super) entry: Arc<LiveStall>,
    pub(super) victims: Victims,
}

/// The requests that a stall holds up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Victims {
    /// The index of its runtime.
    pub(super) runtime: u32,
    /// Requests that are the stall itself.
    pub(super) own: u64,
    /// All inside the layer at the last scan.
    pub(super) in_flight: u64,
}

/// Requests inside the layer at one moment.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) in_flight: u64,
    /// By index of the runtime.
    pub(super) of_runtime: Vec<(u32, u64)>,
}

impl OpenStall {
    /// Counts those that are held up by now.
    pub(super) fn count_victims(&mut self, requests: &Requests, observer: &mut dyn Observer) {
        let victims = &mut self.victims;
        victims.in_flight = requests.in_flight;
        let mut of_runtime = requests.of_runtime.iter();
        let Some((_, in_flight)) = of_runtime.find(|(index, _)| *index == victims.runtime) else {
            return;
        };
        let others = in_flight.saturating_sub(victims.own);
        let more = others.saturating_sub(self.entry.delayed());
        if more > 0 && !self.entry.cause().is_environment() {
            self.entry.delay(others);
            observer.delayed(&self.entry, more);
        }
    }
}

/// A poll that has just become a stall.
pub(super) struct NewStall {
    pub(super) place_of: StallPlace,
    /// Its runtime and worker, as slots say it.
    pub(super) runtime: u32,
    pub(super) worker: Option<u32>,
    pub(super) handler: &'static str,
    pub(super) cause: Cause,
    pub(super) since: Nanos,
    pub(super) lasted: Nanos,
    pub(super) trace: u128,
    /// Whether it is a request itself.
    pub(super) is_request: bool,
    pub(super) found: FoundStall,
    /// Its stack, where that was wanted to prove it.
    pub(super) taken: Option<StackResult>,
}

/// Where the stall is kept.
#[derive(Clone, Copy, Debug)]
pub(super) enum StallPlace {
    Slot(usize),
    /// By the places of runtime and worker in the lists.
    Worker(usize, usize),
}

/// Tells the observer what has become of a stall.
pub(super) fn heed(observer: &mut dyn Observer, stall: &mut Option<OpenStall>, event: PollEvent) {
    match event {
        PollEvent::None | PollEvent::Counted(_) | PollEvent::Excused(_) => {}
        PollEvent::Ended(lasted) => end(observer, stall, Some(lasted)),
        PollEvent::Lasts(lasted) => tell_time(observer, stall, lasted),
        PollEvent::Doubled(lasted) => {
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
        let more = lasted.saturating_sub(stall.entry.lasted());
        stall.entry.last(lasted);
        observer.stalled(&stall.entry, more);
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
        stall.entry.end(stall.entry.lasted(), stall.victims.in_flight);
        observer.ended(&stall.entry);
    }
}
