//! What a scan finds, as a list of events: the watchdog's only output.

use std::sync::Arc;

use crate::cause::CauseReport;
use crate::clock::Nanos;
use crate::runtime::Runtime;
use crate::slot::Slot;
use crate::stack::PollProof;
use crate::stall::{Cause, LiveStall};

/// The number of events whose memory is kept. After a long freeze one scan has thousands.
const KEPT: usize = 1024;

/// Something that a scan has found, or a request to its consumer.
#[derive(Debug)]
pub(crate) enum Event {
    /// A runtime is watched from now on.
    RuntimeAppeared(Arc<Runtime>),
    /// A tick woke this late, or is missing and this late by now.
    Lag { runtime: &'static str, lag: Nanos },
    /// Number of ticks whose lags were overwritten before they were read.
    LagsLost(u64),
    /// The runtime was frozen for this long since the last such event.
    Frozen { runtime: &'static str, cause: Cause, time: Nanos },
    /// A poll became a stall, or one that was blamed on the environment turned out to be the
    /// program's own.
    StallCounted { stall: Arc<LiveStall>, thread: Box<StalledThread> },
    /// A stall has reached its threshold times the next power of two.
    ///
    /// `thread` is there if the stall has no stack yet, or if it waits for the same as when it was looked at
    /// last (`waits_on`) and it is not known who has that, so that another attempt makes sense.
    StallContinues { stall: Arc<LiveStall>, thread: Option<Box<StalledThread>>, waits_on: bool },
    /// A stall was looked at again, and its thread does not wait for the same as before. The thread has a
    /// new report of the cause.
    StallSampled { stall: Arc<LiveStall>, thread: Box<StalledThread> },
    /// A stall is over.
    StallEnded(Arc<LiveStall>),
    /// A handler was inside a poll at this scan, which stands for `time`.
    HandlerBusy { handler: &'static str, time: Nanos },
    /// Request: take a stack that shows whether a worker's thread is in one poll.
    Prove(Arc<PollProof>),
    /// Request: find out which threads run the workers.
    MapWorkers(Arc<Runtime>),
    /// Request: wake a parked worker, because no timer fires and no socket is polled. `first` is
    /// whether it is the first attempt for this stall.
    Rescue { runtime: Arc<Runtime>, first: bool },
    /// Request: find out whether the runtime still polls tasks.
    Ping(Arc<Runtime>),
    /// The runtime is frozen for this long and has not answered a [`Ping`](Self::Ping). `stall` is
    /// blamed for it.
    Dead { runtime: Arc<Runtime>, frozen: Nanos, stall: Option<Arc<LiveStall>> },
    /// The last event of each scan, which began `late` after it was due.
    Scanned { now: Nanos, late: Nanos },
}

/// The thread of a new stall, for the capture of its stack.
#[derive(Clone, Debug)]
pub(crate) struct StalledThread {
    /// The kernel's id of the thread.
    pub(crate) id: u32,
    pub(crate) cause_report: Option<CauseReport>,
    /// The slot of the poll, and its sequence number there; `None` for a poll that is not marked.
    pub(super) poll: Option<(&'static Slot, u64)>,
}

/// The events of one scan, in order.
#[derive(Debug, Default)]
pub(crate) struct Events(Vec<Event>);

impl StalledThread {
    /// Whether the poll is still open, to be called on any thread. Without a slot it is assumed to be.
    pub(crate) fn still(&self) -> impl Fn() -> bool + Send + 'static {
        let poll = self.poll;
        move || poll.is_none_or(|(slot, sequence)| slot.sequence() == sequence)
    }
}

impl Events {
    pub(super) fn push(&mut self, event: Event) {
        self.0.push(event);
    }

    /// Whether any of them counts or ends a stall.
    pub(crate) fn count_or_end_stalls(&self) -> bool {
        let does = |event: &_| matches!(event, Event::StallCounted { .. } | Event::StallEnded(_));
        self.0.iter().any(does)
    }

    /// Takes all events, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Event> {
        self.0.drain(..)
    }

    /// Drops what was not taken, and the memory of more than [`KEPT`] events.
    pub(super) fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_a_usual_scan_is_kept_and_no_more() {
        let mut events = Events::default();
        for kept in [10, KEPT, 100 * KEPT] {
            (0..kept).for_each(|_| events.push(Event::LagsLost(1)));
            assert_eq!(events.drain().count(), kept);
            events.clear();
        }
        assert!((KEPT..2 * KEPT).contains(&events.0.capacity()));
    }

    #[test]
    fn an_event_is_small() {
        assert!(size_of::<Event>() <= 32, "{}", size_of::<Event>());
    }
}
