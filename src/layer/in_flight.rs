//! What the future and the body of a request carry.

use super::labels::LearnMethod;
use crate::mark::Mark;
use crate::mark::thread_slots::{PollGuard, slot};
use crate::runtime::registry::NO_DETECTOR;
use crate::slot::{NO_TRACE, Trace};

/// A request in flight: its label and its trace id, and what may learn a label from its response. The
/// response future carries it, then the body. The default is of no detector, and is not counted.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    pub(super) mark: Mark,
    pub(super) trace: Trace,
    /// Taken when there is nothing left to learn.
    pub(super) learn: Option<Box<LearnMethod>>,
}

/// An open poll of a request.
#[must_use]
pub(super) struct Polling {
    guard: PollGuard,
    /// What the slot's trace was before, if this request has one of its own.
    outer: Option<Trace>,
}

impl InFlight {
    /// The request begins, and with it a poll of it.
    #[inline]
    pub(super) fn begin(&self) -> Polling {
        let polling = self.enter();
        polling.guard.slot.count_in_flight(1);
        polling
    }

    /// Enters a poll of the request.
    #[inline]
    pub(super) fn enter(&self) -> Polling {
        let guard = self.mark.enter();
        let outer = (self.trace != NO_TRACE).then(|| guard.slot.swap_trace(self.trace));
        Polling { guard, outer }
    }

    /// Moves the request on.
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        let Self { mark, trace, ref mut learn } = *self;
        let learn = learn.take();
        self.mark.detector = NO_DETECTOR;
        Self { mark, trace, learn }
    }

    /// The request ends in that poll of it.
    #[inline]
    pub(super) fn end(&mut self, polling: &Polling) {
        self.mark.detector = NO_DETECTOR;
        polling.guard.slot.count_in_flight(-1);
    }
}

impl Drop for InFlight {
    #[inline]
    fn drop(&mut self) {
        if self.mark.detector != NO_DETECTOR {
            slot(self.mark.detector).count_in_flight(-1);
        }
    }
}

impl Drop for Polling {
    #[inline]
    fn drop(&mut self) {
        if let Some(outer) = self.outer {
            self.guard.slot.swap_trace(outer);
        }
    }
}
