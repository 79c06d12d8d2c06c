//! The reporter: the thread that calls what may block: the log, hooks, the user's recorder.
//!
//! It reads a bounded queue. When one of them is stuck the queue fills up, further reports are
//! dropped and counted, and nobody else waits.

mod event;
mod limiter;
mod log;
mod on_stall;
mod pending;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::cause::CauseReport;
use crate::clock::{self, Nanos};
use crate::label::printable;
use crate::metrics::{Batch, Facade, Gauges};
use crate::runtime::registry::Registry;
use crate::stall::StackOutcome;
use crate::stall::Stall;
use crate::stall::{LiveStall, StackResult};
pub(crate) use event::Event;
use limiter::Limiter;
use log::Logger;
pub use on_stall::OnStall;
use pending::{PendingStall, PendingStalls};

/// Reports that wait for a stuck reader; a stall makes a handful.
const QUEUE: usize = 1024;
/// How often gauges are set, and how long a batch of metrics waits at most.
pub(crate) const FLUSH: Duration = Duration::from_secs(1);
/// How often a recorder is told again what metrics there are: it may be a new one.
const FLUSHES_BETWEEN_INTRODUCTIONS: u32 = 10;

#[derive(Debug)]
enum Message {
    Stall(Event, Arc<LiveStall>),
    /// A stack is to come, or not.
    Started(Arc<LiveStall>, Option<CauseReport>, bool),
    /// It came, or will not.
    Captured(Arc<LiveStall>, StackOutcome),
    /// What can be said about it stands in the entry.
    Named(Arc<LiveStall>),
    Metrics(Batch),
    AllUnmatched,
    /// A runtime's timers and sockets stood still until a task of ours woke a worker.
    Rescued(&'static str),
    /// Only a restart helps that runtime, frozen for so long; what it blames.
    Dead(&'static str, Nanos, Option<Arc<LiveStall>>),
}

/// The watchdog's end of the queue. When it is dropped the reporter ends.
#[derive(Debug)]
pub(crate) struct Reports {
    queue: Arc<SyncSender<Message>>,
    registry: Arc<Registry>,
}

impl Reports {
    /// Says that a stall was counted, and whether its stack is to come.
    pub(crate) fn started(
        &self,
        stall: &Arc<LiveStall>,
        cause_report: Option<CauseReport>,
        captures: bool,
    ) {
        if !self.send(Message::Started(Arc::clone(stall), cause_report, captures)) {
            // Nobody is there to read it.
            stall.set_detail(None);
        }
    }

    /// Hears that the stack of that stall was taken, or was not. Keeps no thread alive.
    pub(crate) fn sampled(&self, stall: &Arc<LiveStall>) -> Box<dyn FnOnce(StackOutcome) + Send> {
        let (queue, stall) = (Arc::downgrade(&self.queue), Arc::clone(stall));
        Box::new(move |outcome| {
            if let Some(queue) = queue.upgrade() {
                // Whoever waits for it has a deadline.
                drop(queue.try_send(Message::Captured(stall, outcome)));
            }
        })
    }

    /// Hears what came of the stack of that stall. Keeps no thread alive.
    pub(crate) fn named(&self, stall: &Arc<LiveStall>) -> Box<dyn FnOnce(StackResult) + Send> {
        let (queue, stall) = (Arc::downgrade(&self.queue), Arc::clone(stall));
        Box::new(move |result| {
            stall.set_stack_result(result);
            if let Some(queue) = queue.upgrade() {
                // Whoever waits for it has a deadline.
                drop(queue.try_send(Message::Named(stall)));
            }
        })
    }

    /// Says that a stall goes on or has ended.
    pub(crate) fn stall(&self, event: Event, stall: &Arc<LiveStall>) {
        self.send(Message::Stall(event, Arc::clone(stall)));
    }

    /// Hands a report over, or counts that it could not and returns `false`.
    fn send(&self, report: Message) -> bool {
        let sent = self.queue.try_send(report).is_ok();
        if !sent {
            self.registry.suppressed.fetch_add(1, Relaxed);
        }
        sent
    }

    /// Says that no request so far had a route.
    pub(crate) fn all_unmatched(&self) {
        drop(self.queue.try_send(Message::AllUnmatched));
    }

    /// Says that a parked worker of that runtime was woken.
    pub(crate) fn rescued(&self, runtime: &'static str) {
        self.send(Message::Rescued(runtime));
    }

    /// Says that only a restart helps that runtime.
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
        if let Err(refused) = self.queue.try_send(Message::Metrics(std::mem::take(batch))) {
            let (std::sync::mpsc::TrySendError::Full(refused)
            | std::sync::mpsc::TrySendError::Disconnected(refused)) = refused;
            if let Message::Metrics(refused) = refused {
                *batch = refused;
            }
        }
    }
}

/// The reader's end.
pub(crate) struct Reporter {
    queue: Receiver<Message>,
    registry: Arc<Registry>,
    limiter: Limiter,
    logger: Logger,
    /// Runtimes that were told to be dead and of which no stall has ended since: the last lines of a
    /// log are what is left of a container that is killed, so nothing is said after that.
    dead: Vec<&'static str>,
    pending: PendingStalls,
    hooks: Vec<Box<dyn OnStall>>,
    /// The gauges, where metrics go out by the facade.
    gauges: Option<Gauges>,
    facade: Facade,
    flushes: u32,
    flush_due: Nanos,
}

impl Reporter {
    /// Makes both ends. The log goes to the subscriber that is in force here.
    pub(crate) fn new(
        registry: Arc<Registry>,
        hooks: Vec<Box<dyn OnStall>>,
        facade: bool,
    ) -> (Reports, Self) {
        let (sender, queue) = sync_channel(QUEUE);
        let gauges = facade.then(|| Gauges::new(Arc::clone(&registry)));
        let reports = Reports { queue: Arc::new(sender), registry: Arc::clone(&registry) };
        let reporter = Self {
            queue,
            registry,
            limiter: Limiter::default(),
            logger: Logger::new(),
            dead: Vec::new(),
            pending: PendingStalls::default(),
            hooks,
            gauges,
            facade: Facade::default(),
            flushes: 0,
            flush_due: 0,
        };
        (reports, reporter)
    }

    /// Reads until the watchdog is gone.
    pub(crate) fn run(mut self) {
        self.flush();
        loop {
            // Only gauges and stacks that are waited for want a reporter that wakes by itself.
            let flush = self.gauges.as_ref().map(|_| self.flush_due);
            let message = match flush.into_iter().chain(self.pending.due()).min() {
                None => self.queue.recv().map_err(RecvTimeoutError::from),
                Some(due) => {
                    let wait = due.saturating_sub(clock::now());
                    self.queue.recv_timeout(Duration::from_nanos(wait))
                }
            };
            match message {
                Ok(Message::Stall(event, entry)) => match self.pending.waiting(&entry) {
                    Some(waiting) => waiting.then.push(event),
                    None => self.report(event, &entry),
                },
                Ok(Message::Started(entry, cause_report, captures)) => {
                    let detail = cause_report.and_then(|cause_report| cause_report.detail());
                    // Names of files are whatever somebody chose.
                    entry.set_detail(detail.map(|detail| printable(&detail).into()));
                    if captures {
                        self.pending.wait_for(entry);
                    } else {
                        self.report(Event::Started, &entry);
                    }
                }
                Ok(Message::Captured(entry, outcome)) => {
                    if let Some(waiting) = self.pending.waiting(&entry) {
                        waiting.answered = true;
                        self.registry.captures[outcome as usize].fetch_add(1, Relaxed);
                    }
                }
                Ok(Message::Named(entry)) => {
                    if let Some(waiting) = self.pending.take(&entry) {
                        self.tell(waiting);
                    }
                }
                Ok(Message::Metrics(batch)) => guarded(|| batch.pour(&mut self.facade)),
                Ok(Message::Rescued(runtime)) => {
                    self.limited(("rescue", runtime), |logger, suppressed| {
                        logger.rescued(runtime, suppressed);
                    });
                }
                Ok(Message::Dead(runtime, frozen, entry)) => {
                    self.dead.extend(entry.as_ref().map(|entry| entry.runtime()));
                    let stall = entry.map(|entry| entry.stall());
                    guarded(|| self.logger.dead(runtime, frozen, stall.as_ref()));
                }
                Ok(Message::AllUnmatched) => guarded(|| self.logger.all_unmatched()),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            for waiting in self.pending.overdue(clock::now()) {
                self.tell(waiting);
            }
            if clock::now() >= self.flush_due {
                self.flush();
            }
        }
        for waiting in self.pending.give_up() {
            self.tell(waiting);
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.flush_due = clock::now() + clock::nanos(FLUSH);
        let Some(gauges) = &mut self.gauges else { return };
        if self.flushes.is_multiple_of(FLUSHES_BETWEEN_INTRODUCTIONS) {
            guarded(|| self.facade.introduce());
        }
        self.flushes = self.flushes.wrapping_add(1);
        guarded(|| gauges.show(&mut self.facade));
    }

    /// A stall whose stack was waited for is told now.
    fn tell(&mut self, waiting: PendingStall) {
        if !waiting.answered {
            self.registry.captures[StackOutcome::Timeout as usize].fetch_add(1, Relaxed);
        }
        self.report(Event::Started, &waiting.stall);
        for event in waiting.then {
            self.report(event, &waiting.stall);
        }
    }

    /// Writes a line, or counts that it was held back.
    fn limited(&mut self, topic: limiter::Topic, write: impl FnOnce(&Logger, u64)) {
        match self.limiter.admit(clock::now(), topic) {
            Some(suppressed) => guarded(|| write(&self.logger, suppressed)),
            None => {
                self.registry.suppressed.fetch_add(1, Relaxed);
            }
        }
    }

    fn report(&mut self, event: Event, entry: &LiveStall) {
        // It may have ended meanwhile: that is told next.
        let stall = &Stall { in_progress: event != Event::Ended, ..entry.stall() };
        match event {
            Event::Continues if self.dead.contains(&entry.runtime()) => {
                self.registry.suppressed.fetch_add(1, Relaxed);
                return;
            }
            Event::Ended if !stall.cause.is_environment() => {
                self.dead.retain(|dead| *dead != entry.runtime());
            }
            _ => {}
        }
        let topic = (entry.handler(), stall.cause.as_str());
        self.limited(topic, |logger, suppressed| logger.log(event, stall, suppressed));
        if event != Event::Continues {
            for hook in &mut self.hooks {
                guarded(|| hook.on_stall(stall));
            }
        }
    }
}

/// Runs code of others; what it panics with is its own business.
fn guarded(run: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(run)));
}
