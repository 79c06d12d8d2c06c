//! What the reporter is told, and the watchdog's end of the queue.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::event::Event;
use crate::cause::CauseReport;
use crate::clock::Nanos;
use crate::label::printable;
use crate::metrics::Batch;
use crate::runtime::registry::Registry;
use crate::stall::{
    HeldBy, LiveSample, LiveStall, StackDetail, StackNews, StackOutcome, StackResult,
};

/// Reports that wait; a stall makes a handful.
const LENGTH: usize = 1024;

#[derive(Debug)]
pub(super) enum Message {
    /// A stall was counted. Its stack is on its way, or is not taken.
    Counted(Arc<LiveStall>, Option<CauseReport>, bool),
    /// The stack of a stall was taken, or not. It has no names yet.
    Sampled(Arc<LiveStall>, StackOutcome),
    /// The record of a stall has its site. Its stack still lacks names.
    Located(Arc<LiveStall>),
    /// The record of a stall has its stack, or the reason why there is none.
    Named(Arc<LiveStall>),
    /// A stall that lasts was looked at again, and there is no stack for that reason.
    SampledAgain(Arc<LiveStall>, Box<CauseReport>, &'static str),
    /// A stall goes on, or has ended.
    Later(Event, Arc<LiveStall>),
    Metrics(Batch),
    /// Detection has begun.
    Watching,
    AllUnmatched,
    Rescued(&'static str),
    Dead(&'static str, Nanos, Option<Arc<LiveStall>>),
}

/// What a stall does at a later look. Asks the kernel and may block, so the watchdog must not call it.
pub(super) fn sample(after: Duration, report: &CauseReport, result: StackResult) -> LiveSample {
    // Names of files are whatever somebody chose.
    let detail = report.detail().map(|detail| printable(&detail).into());
    LiveSample::new(after, report.situation(), detail, result)
}

/// The watchdog's end of the queue. When it is dropped the reporter ends.
#[derive(Debug)]
pub(crate) struct Reports {
    queue: Arc<SyncSender<Message>>,
    registry: Arc<Registry>,
}

impl Reports {
    /// Makes both ends.
    pub(super) fn new(registry: Arc<Registry>) -> (Self, Receiver<Message>) {
        let (sender, queue) = sync_channel(LENGTH);
        (Self { queue: Arc::new(sender), registry }, queue)
    }

    /// A stall was counted. `captures` says whether its stack is on its way.
    pub(crate) fn started(
        &self,
        stall: &Arc<LiveStall>,
        cause_report: Option<CauseReport>,
        captures: bool,
    ) {
        if let Some(cause_report) = &cause_report {
            stall.set_situation(cause_report.situation());
        }
        if !self.send(Message::Counted(Arc::clone(stall), cause_report, captures)) {
            // The reporter would have set it.
            stall.set_detail(None);
        }
    }

    /// To be called with what becomes of the stall's stack, on other threads. The reporter does not
    /// stay alive for it, and waits for it with a deadline, so that it may be lost.
    pub(crate) fn stack_news(&self, stall: &Arc<LiveStall>) -> Box<dyn FnMut(StackNews) + Send> {
        let (queue, stall) = (Arc::downgrade(&self.queue), Arc::clone(stall));
        Box::new(move |news| {
            let message = match news {
                StackNews::Sampled(outcome) => Message::Sampled(Arc::clone(&stall), outcome),
                StackNews::Located(site, hints) => {
                    stall.locate(site, hints);
                    Message::Located(Arc::clone(&stall))
                }
                StackNews::Named(result) => {
                    stall.set_stack_result(result);
                    Message::Named(Arc::clone(&stall))
                }
            };
            if let Some(queue) = queue.upgrade() {
                drop(queue.try_send(message));
            }
        })
    }

    /// A stall that lasts was looked at again. `why` there is no stack.
    pub(crate) fn sampled(&self, stall: &Arc<LiveStall>, report: CauseReport, why: &'static str) {
        self.send(Message::SampledAgain(Arc::clone(stall), Box::new(report), why));
    }

    /// The same with what becomes of the stack, to be called on other threads.
    pub(crate) fn later_news(
        &self,
        stall: &Arc<LiveStall>,
        report: CauseReport,
    ) -> Box<dyn FnMut(StackNews) + Send> {
        let (queue, stall) = (Arc::downgrade(&self.queue), Arc::clone(stall));
        let registry = Arc::downgrade(&self.registry);
        let after = Duration::from_nanos(stall.lasted());
        Box::new(move |news| {
            if let StackNews::Sampled(outcome) = news
                && let Some(registry) = registry.upgrade()
            {
                registry.captures[outcome as usize].fetch_add(1, Relaxed);
            }
            if let StackNews::Named(result) = news
                && stall.add_sample(sample(after, &report, result))
                && let Some(queue) = queue.upgrade()
            {
                drop(queue.try_send(Message::Later(Event::Moved, Arc::clone(&stall))));
            }
        })
    }

    /// To be called with who has what the stall waits for. The stall may have so many `new` samples until
    /// then. The reporter does not stay alive for it.
    pub(crate) fn held_by(
        &self,
        stall: &Arc<LiveStall>,
        new: usize,
    ) -> impl FnOnce(Option<HeldBy>) + Send + 'static {
        let samples = stall.want_holder();
        let (queue, stall) = (Arc::downgrade(&self.queue), Arc::clone(stall));
        move |held_by| {
            let is_known = held_by.is_some();
            stall.set_held_by(held_by, &(samples..=samples + new));
            if let Some(queue) = queue.upgrade().filter(|_| is_known) {
                drop(queue.try_send(Message::Later(Event::Held, stall)));
            }
        }
    }

    /// To be called with what stacks show, on another thread. The reporter does not stay alive for it.
    pub(crate) fn watching(&self) -> impl FnOnce(StackDetail) + Send + 'static {
        let (queue, registry) = (Arc::downgrade(&self.queue), Arc::clone(&self.registry));
        move |detail| {
            // Told once.
            let _ = registry.stack_detail.set(detail);
            if let Some(queue) = queue.upgrade() {
                drop(queue.try_send(Message::Watching));
            }
        }
    }

    /// A stall goes on, or has ended.
    pub(crate) fn stall(&self, event: Event, stall: &Arc<LiveStall>) {
        self.send(Message::Later(event, Arc::clone(stall)));
    }

    /// No request so far had a route.
    pub(crate) fn all_unmatched(&self) {
        self.send(Message::AllUnmatched);
    }

    /// Timers and sockets of a runtime stood still until a task of ours woke a parked worker.
    pub(crate) fn rescued(&self, runtime: &'static str) {
        self.send(Message::Rescued(runtime));
    }

    /// A runtime is frozen for that long, and only a restart helps; `stall` is what it blames.
    pub(crate) fn dead(
        &self,
        runtime: &'static str,
        frozen: Nanos,
        stall: Option<&Arc<LiveStall>>,
    ) {
        self.send(Message::Dead(runtime, frozen, stall.cloned()));
    }

    /// Hands metrics over and leaves an empty batch, or leaves them where they are.
    pub(crate) fn metrics(&self, batch: &mut Batch) {
        use std::sync::mpsc::TrySendError::{Disconnected, Full};

        let sent = self.queue.try_send(Message::Metrics(std::mem::take(batch)));
        if let Err(Full(Message::Metrics(refused)) | Disconnected(Message::Metrics(refused))) = sent
        {
            *batch = refused;
        }
    }

    /// Hands a report over, or counts that it could not and returns `false`.
    fn send(&self, report: Message) -> bool {
        let sent = self.queue.try_send(report).is_ok();
        self.registry.suppressed.fetch_add(u64::from(!sent), Relaxed);
        sent
    }
}
