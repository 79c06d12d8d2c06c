//! What a scan finds, as a list: the watchdog's only way out.

use std::sync::Arc;

use crate::cause::CauseReport;
use crate::clock::Nanos;
use crate::runtime::Runtime;
use crate::slot::Slot;
use crate::stack::PollProof;
use crate::stall::{Cause, LiveStall};

/// Events that memory is kept for. A scan after a long freeze brings thousands, once.
const KEPT: usize = 1024;

/// Something that a scan found, or wants to be done.
#[derive(Debug)]
pub(crate) enum Event {
    /// A runtime is watched from now on.
    RuntimeAppeared(Arc<Runtime>),
    /// A tick woke late, or is that late by now.
    Lag { runtime: &'static str, lag: Nanos },
    /// Ticks that woke, but whose lags could not be kept.
    LagsLost(u64),
    /// The runtime was frozen for that much further time.
    Frozen { runtime: &'static str, cause: Cause, time: Nanos },
    /// A stall crossed its threshold, or one that was the environment's turned out to be the
    /// program's.
    StallCounted { stall: Arc<LiveStall>, thread: Box<StalledThread> },
    /// A stall has lasted for the next power of two of its threshold.
    StallContinues(Arc<LiveStall>),
    /// A stall is over.
    StallEnded(Arc<LiveStall>),
    /// A handler was in a poll at this scan; `time` is what that stands for.
    HandlerBusy { handler: &'static str, time: Nanos },
    /// To do: find out whether a worker's thread is in one poll.
    Prove(Arc<PollProof>),
    /// To do: find out which threads run the workers.
    MapWorkers(Arc<Runtime>),
    /// To do: wake a parked worker, since timers and sockets of the runtime stand still; the first
    /// time for this stall, or again.
    Rescue { runtime: Arc<Runtime>, first: bool },
    /// To do: find out whether the runtime still polls tasks.
    Ping(Arc<Runtime>),
    /// The runtime is frozen for that long and has polled no task of a [`Ping`](Self::Ping);
    /// `stall` is what it blames.
    Dead { runtime: Arc<Runtime>, frozen: Nanos, stall: Option<Arc<LiveStall>> },
    /// The last event of each scan, which began that much later than it should.
    Scanned { now: Nanos, late: Nanos },
}

/// The thread of a new stall, for a closer look.
#[derive(Debug)]
pub(crate) struct StalledThread {
    /// The kernel's number of the thread.
    pub(crate) id: u32,
    pub(crate) cause_report: Option<CauseReport>,
    /// The slot that the poll is open in, and its number there.
    pub(super) poll: Option<(&'static Slot, u64)>,
}

/// The events of one scan, in their order.
#[derive(Debug, Default)]
pub(crate) struct Events(Vec<Event>);

impl StalledThread {
    /// Whether the poll is still open, for other threads to ask. Of a worker without a slot nobody
    /// can tell.
    pub(crate) fn still(&self) -> impl Fn() -> bool + Send + 'static {
        let poll = self.poll;
        move || poll.is_none_or(|(slot, sequence)| slot.sequence() == sequence)
    }
}

impl Events {
    pub(super) fn push(&mut self, event: Event) {
        self.0.push(event);
    }

    /// Whether some of them begin or end a stall.
    pub(crate) fn count_or_end_stalls(&self) -> bool {
        let does = |event: &_| matches!(event, Event::StallCounted { .. } | Event::StallEnded(_));
        self.0.iter().any(does)
    }

    /// Takes all events, oldest first.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Event> {
        self.0.drain(..)
    }

    /// Forgets what nobody took, and gives back unusually much memory.
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
