//! The reporter: the thread that calls what may block, which are the log, hooks and the user's
//! recorder.
//!
//! It reads a bounded queue. While one of them is stuck the queue fills up, and further reports are
//! dropped and counted. Nobody else waits.

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
use crate::stall::{LiveStall, StackDetail, StackNews, StackOutcome, Stall};
use crate::vitals::OwnThread;
pub(crate) use event::Event;
use limiter::Limiter;
use log::Logger;
pub use on_stall::OnStall;
use pending::{PendingStall, PendingStalls};

/// Reports that wait in the queue; a stall makes a handful.
const QUEUE: usize = 1024;
/// How often gauges are set, and how long a batch of metrics waits at most.
pub(crate) const FLUSH: Duration = Duration::from_secs(1);
/// How often the metrics are described again: the recorder may be a new one.
const FLUSHES_BETWEEN_INTRODUCTIONS: u32 = 10;

/// Stalls of which it is remembered that they were logged, until their stack has come.
const MOST_TOLD: usize = 64;

#[derive(Debug)]
enum Message {
    /// A stall was counted. Its stack is on its way, or is not taken.
    Counted(Arc<LiveStall>, Option<CauseReport>, bool),
    /// The stack of a stall was taken, or not. It has no names yet.
    Sampled(Arc<LiveStall>, StackOutcome),
    /// The record of a stall has its site. Its stack still lacks names.
    Located(Arc<LiveStall>),
    /// The record of a stall has its stack, or the reason why there is none.
    Named(Arc<LiveStall>),
    /// A stall goes on, or has ended.
    Later(Event, Arc<LiveStall>),
    Metrics(Batch),
    /// Detection has begun.
    Watching,
    AllUnmatched,
    Rescued(&'static str),
    Dead(&'static str, Nanos, Option<Arc<LiveStall>>),
}

/// The watchdog's end of the queue. When it is dropped the reporter ends.
#[derive(Debug)]
pub(crate) struct Reports {
    queue: Arc<SyncSender<Message>>,
    registry: Arc<Registry>,
}

impl Reports {
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

/// A stall whose first line was logged.
#[derive(Debug)]
struct Told {
    stall: Arc<LiveStall>,
    /// Whether a line had the site.
    with_site: bool,
}

/// The reader's end.
pub(crate) struct Reporter {
    queue: Receiver<Message>,
    registry: Arc<Registry>,
    limiter: Limiter,
    logger: Logger,
    /// Runtimes that were logged as dead and of which no stall has ended since. Their last lines are
    /// what is left of the log of a container that is killed, so none follow.
    dead: Vec<&'static str>,
    pending: PendingStalls,
    /// Stalls whose first line was logged and whose stack may still come, the last one first.
    told: Vec<Told>,
    hooks: Vec<Box<dyn OnStall>>,
    /// The gauges, where metrics go out by the facade.
    gauges: Option<Gauges>,
    facade: Facade,
    flushes: u32,
    flush_due: Nanos,
    /// Panics of the detector's threads that were logged.
    panics_told: u64,
}

impl Reporter {
    /// Makes both ends. The log goes to the subscriber that is in force here.
    pub(crate) fn new(
        registry: Arc<Registry>,
        hooks: Vec<Box<dyn OnStall>>,
        facade: bool,
    ) -> (Reports, Self) {
        let (sender, queue) = sync_channel(QUEUE);
        let reporter = Self {
            queue,
            registry: Arc::clone(&registry),
            limiter: Limiter::default(),
            logger: Logger::new(),
            dead: Vec::new(),
            pending: PendingStalls::default(),
            told: Vec::new(),
            hooks,
            gauges: facade.then(|| Gauges::new(Arc::clone(&registry))),
            facade: Facade::default(),
            flushes: 0,
            flush_due: 0,
            panics_told: 0,
        };
        (Reports { queue: Arc::new(sender), registry }, reporter)
    }

    /// Reads until the watchdog is gone.
    pub(crate) fn run(mut self) {
        let vitals = Arc::clone(&self.registry.vitals);
        let life = vitals.begin(OwnThread::Reporter);
        vitals.work(OwnThread::Reporter, || self.flush());
        while !vitals.is_spent(OwnThread::Reporter) {
            // Only gauges and pending stalls need a reporter that wakes by itself.
            let flush = self.gauges.as_ref().map(|_| self.flush_due);
            let due = flush.into_iter().chain(self.pending.due()).min().unwrap_or(clock::LONGEST);
            let wait = Duration::from_nanos(due.saturating_sub(clock::now()));
            let message = match self.queue.recv_timeout(wait) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    vitals.work(OwnThread::Reporter, || self.finish());
                    return life.end();
                }
            };
            vitals.work(OwnThread::Reporter, || self.serve(message));
        }
    }

    fn serve(&mut self, message: Option<Message>) {
        message.into_iter().for_each(|message| self.take(message));
        let now = clock::now();
        self.report_overdue(now);
        self.report_panics();
        if now >= self.flush_due {
            self.flush();
        }
    }

    fn finish(&mut self) {
        self.report_overdue(Nanos::MAX);
        self.report_panics();
        self.flush();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Counted(stall, cause_report, captures) => {
                let detail = cause_report.and_then(|cause_report| cause_report.detail());
                // Names of files are whatever somebody chose.
                stall.set_detail(detail.map(|detail| printable(&detail).into()));
                if captures {
                    self.pending.add(stall);
                } else {
                    self.report(Event::Started, &stall);
                }
            }
            Message::Sampled(stall, outcome) => {
                if let Some(pending) = self.pending.get_mut(&stall) {
                    pending.answered = true;
                    self.registry.captures[outcome as usize].fetch_add(1, Relaxed);
                }
            }
            Message::Located(stall) | Message::Named(stall) => {
                if let Some(pending) = self.pending.take(&stall) {
                    self.report_pending(pending);
                } else {
                    self.tell_more(&stall);
                }
            }
            Message::Later(event, stall) => match self.pending.get_mut(&stall) {
                Some(pending) => pending.then.push(event),
                None => self.report(event, &stall),
            },
            Message::Metrics(batch) => guarded(|| batch.pour(&mut self.facade)),
            Message::Watching => {
                guarded(|| self.logger.write(|| log::watching(&self.registry)));
            }
            Message::AllUnmatched => guarded(|| self.logger.write(log::all_unmatched)),
            Message::Rescued(runtime) => {
                self.log(("rescue", runtime), |suppressed| log::rescued(runtime, suppressed));
            }
            Message::Dead(runtime, frozen, stall) => {
                let blamed = stall.as_ref().map(|stall| stall.runtime());
                self.dead.extend(blamed.filter(|runtime| !self.dead.contains(runtime)));
                let stall = stall.map(|stall| stall.stall());
                let admitted = self.limiter.admit_urgent(clock::now(), ("dead", runtime));
                self.write(admitted, |suppressed| {
                    log::dead(runtime, frozen, stall.as_ref(), suppressed);
                });
            }
        }
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

    /// Reports what has become of the detector's threads.
    fn report_panics(&mut self) {
        let vitals = &self.registry.vitals;
        let panics = OwnThread::ALL.into_iter().map(|thread| vitals.panics(thread)).sum();
        if panics > std::mem::replace(&mut self.panics_told, panics) {
            let reports = vitals.reports(clock::now());
            for report in reports.filter(|report| report.panics > 0) {
                guarded(|| self.logger.write(|| log::fault(report)));
            }
        }
    }

    /// Reports stalls whose stack does not come in time.
    fn report_overdue(&mut self, now: Nanos) {
        for pending in self.pending.take_overdue(now) {
            self.report_pending(pending);
        }
    }

    fn report_pending(&mut self, PendingStall { stall, answered, then, .. }: PendingStall) {
        if !answered {
            self.registry.captures[StackOutcome::Timeout as usize].fetch_add(1, Relaxed);
        }
        self.report(Event::Started, &stall);
        for event in then {
            self.report(event, &stall);
        }
    }

    fn report(&mut self, event: Event, live: &Arc<LiveStall>) {
        // It may have ended meanwhile: that is reported next.
        let stall = &Stall { in_progress: event != Event::Ended, ..live.stall() };
        if event == Event::Ended && !stall.cause.is_environment() {
            self.dead.retain(|dead| *dead != live.runtime());
        }
        if event == Event::Continues && self.dead.contains(&live.runtime()) {
            self.registry.suppressed.fetch_add(1, Relaxed);
            return;
        }
        let topic = (live.handler(), stall.cause.as_str());
        let is_logged = self.log(topic, |suppressed| log::stall(event, stall, suppressed));
        // Of the environment's there is no stack.
        if is_logged && event == Event::Started && !stall.cause.is_environment() {
            self.told.truncate(MOST_TOLD - 1);
            self.told.insert(0, Told { stall: Arc::clone(live), with_site: stall.site.is_some() });
            self.tell_more(live);
        }
        if event != Event::Continues {
            for hook in &mut self.hooks {
                guarded(|| hook.on_stall(stall));
            }
        }
    }

    /// Logs what has become known of a stall since its first line, whatever the limits: that line
    /// counted.
    fn tell_more(&mut self, live: &LiveStall) {
        let Some(told) = self.told.iter_mut().find(|told| told.stall.id() == live.id()) else {
            return;
        };
        let stall = live.stall();
        if stall.site.is_some() && !told.with_site && !self.dead.contains(&live.runtime()) {
            told.with_site = true;
            guarded(|| self.logger.write(|| log::stall(Event::Located, &stall, 0)));
        }
        if stall.stack.is_some() {
            guarded(|| self.logger.write(|| log::stack(&stall)));
            self.told.retain(|told| told.stall.id() != live.id());
        }
    }

    /// Writes a line, or counts that it was held back and returns `false`.
    fn log(&mut self, topic: limiter::Topic, write: impl FnOnce(u64)) -> bool {
        let admitted = self.limiter.admit(clock::now(), topic);
        self.write(admitted, write)
    }

    fn write(&mut self, admitted: Option<u64>, write: impl FnOnce(u64)) -> bool {
        match admitted {
            Some(suppressed) => guarded(|| self.logger.write(|| write(suppressed))),
            None => drop(self.registry.suppressed.fetch_add(1, Relaxed)),
        }
        admitted.is_some()
    }
}

/// Runs code of others, which may panic.
fn guarded(run: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(run)));
}
