//! The reader's end of the queue.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::event::Event;
use super::limiter::{Limiter, Start, TOLD_AFTER, Topic};
use super::log::{self, Logger};
use super::log_check::LogCheck;
use super::on_stall::OnStall;
use super::pending::{PendingStall, PendingStalls};
use super::queue::{Message, Reports, sample};
use crate::clock::{self, Nanos};
use crate::label::printable;
use crate::metrics::{Facade, Gauges};
use crate::runtime::registry::Registry;
use crate::stall::{Degree, LiveStall, StackOutcome, StackResult, Stall};
use crate::vitals::OwnThread;

/// How often gauges are set, and how long a batch of metrics waits at most.
pub(crate) const FLUSH: Duration = Duration::from_secs(1);
/// How often the metrics are described again: the recorder may be a new one.
const FLUSHES_BETWEEN_INTRODUCTIONS: u32 = 10;
/// Stalls of which it is remembered that they were logged, until their stack has come.
const MOST_TOLD: usize = 64;
/// From which time on doublings are logged.
const DOUBLINGS_FROM: Duration = Duration::from_secs(1);

/// A stall whose first line was logged.
#[derive(Debug)]
struct Told {
    stall: Arc<LiveStall>,
    /// Whether a line had the site.
    with_site: bool,
}

/// What of the ways out is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReportWays {
    /// Metrics go to the `metrics` facade.
    pub(crate) facade: bool,
    /// A log that drops our warnings is told of on standard error.
    pub(crate) log_check: bool,
}

/// See the module.
pub(crate) struct Reporter {
    queue: Receiver<Message>,
    registry: Arc<Registry>,
    limiter: Limiter,
    logger: Logger,
    log_check: LogCheck,
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
        ways: ReportWays,
    ) -> (Reports, Self) {
        let (reports, queue) = Reports::new(Arc::clone(&registry));
        let logger = Logger::new();
        let reporter = Self {
            queue,
            gauges: ways.facade.then(|| Gauges::new(Arc::clone(&registry))),
            log_check: LogCheck::new(Arc::clone(&registry), &logger, ways.log_check),
            registry,
            limiter: Limiter::default(),
            logger,
            dead: Vec::new(),
            pending: PendingStalls::default(),
            told: Vec::new(),
            hooks,
            facade: Facade::default(),
            flushes: 0,
            flush_due: 0,
            panics_told: 0,
        };
        (reports, reporter)
    }

    /// Reads until the watchdog is gone.
    pub(crate) fn run(mut self) {
        let vitals = Arc::clone(&self.registry.vitals);
        let life = vitals.begin(OwnThread::Reporter);
        vitals.work(OwnThread::Reporter, || self.flush());
        while !vitals.is_spent(OwnThread::Reporter) {
            // Only gauges, pending stalls and sums need a reporter that wakes by itself.
            let flush = self.gauges.as_ref().map(|_| self.flush_due);
            let due = flush.into_iter().chain(self.pending.due()).chain(self.limiter.sums_due());
            let due = due.chain(self.log_check.due()).min().unwrap_or(clock::LONGEST);
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
        self.log_check.check_if_due(&self.logger, now);
        self.report_overdue(now);
        self.report_panics();
        self.report_sums(now);
        if now >= self.flush_due {
            self.flush();
        }
    }

    fn finish(&mut self) {
        self.report_overdue(Nanos::MAX);
        self.report_panics();
        self.report_sums(Nanos::MAX);
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
            Message::SampledAgain(stall, report, why) => {
                let after = Duration::from_nanos(stall.lasted());
                if stall.add_sample(sample(after, &report, StackResult::missing(why))) {
                    self.report(Event::Moved, &stall);
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
                self.write(("rescue", runtime), |suppressed| log::rescued(runtime, suppressed));
            }
            Message::Dead(runtime, frozen, stall) => {
                let blamed = stall.as_ref().map(|stall| stall.runtime());
                self.dead.extend(blamed.filter(|runtime| !self.dead.contains(runtime)));
                let stall = stall.map(|stall| stall.stall());
                self.write(("dead", runtime), |suppressed| {
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

    /// Logs what was held back, once a minute.
    fn report_sums(&mut self, now: Nanos) {
        let Some(sums) = self.limiter.sums(now) else { return };
        for (handler, sum) in &sums.handlers {
            guarded(|| self.logger.write(|| log::summed_up(Ok(handler), sum)));
        }
        let (others, sum) = &sums.others;
        guarded(|| self.logger.write(|| log::summed_up(Err(*others), sum)));
    }

    /// Reports what has become of the detector's threads.
    fn report_panics(&mut self) {
        let vitals = &self.registry.vitals;
        let panics = vitals.all_panics();
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
        match event {
            Event::Started => match self.limiter.start(clock::now(), live.handler(), stall.id) {
                Start::Told => self.tell_start(stall, live),
                start => {
                    self.registry.suppressed.fetch_add(1, Relaxed);
                    if start == Start::FirstHeldBack {
                        guarded(|| self.logger.write(|| log::holds_back(live.handler())));
                    }
                }
            },
            Event::Continues => self.tell_doubling(stall, live),
            Event::Ended => {
                if self.limiter.end(clock::now(), live.handler(), stall) {
                    self.tell(event, stall);
                    if let Some(told) = self.told_of(live).filter(|_| stall.site.is_some()) {
                        told.with_site = true;
                    }
                } else {
                    self.registry.suppressed.fetch_add(1, Relaxed);
                }
            }
            Event::Held => {
                let held_by = stall.last_held_by();
                if held_by.is_some_and(|held_by| held_by.degree != Degree::Unknown) {
                    self.tell_if_told(event, stall, live);
                }
            }
            Event::Moved => self.tell_if_told(event, stall, live),
            Event::Located => {}
        }
        if !matches!(event, Event::Continues | Event::Held | Event::Moved) {
            for hook in &mut self.hooks {
                guarded(|| hook.on_stall(stall));
            }
        }
    }

    fn tell_start(&mut self, stall: &Stall, live: &Arc<LiveStall>) {
        guarded(|| self.log_check.check(&self.logger));
        self.tell(Event::Started, stall);
        // Of the environment's there is no stack.
        if !stall.cause.is_environment() {
            self.told.truncate(MOST_TOLD - 1);
            self.told.insert(0, Told { stall: Arc::clone(live), with_site: stall.site.is_some() });
            self.tell_more(live);
        }
    }

    /// A stall has doubled its time. Short ones only add lines.
    fn tell_doubling(&mut self, stall: &Stall, live: &Arc<LiveStall>) {
        if stall.duration < DOUBLINGS_FROM {
            return;
        }
        if self.dead.contains(&live.runtime()) {
            self.registry.suppressed.fetch_add(1, Relaxed);
        } else if self.limiter.is_told(stall.id) {
            self.tell(Event::Continues, stall);
        } else if stall.duration >= TOLD_AFTER {
            self.limiter.tell(stall.id);
            self.tell_start(stall, live);
        }
    }

    /// Tells more of a stall whose start was logged.
    fn tell_if_told(&self, event: Event, stall: &Stall, live: &LiveStall) {
        if self.limiter.is_told(stall.id) && !self.dead.contains(&live.runtime()) {
            self.tell(event, stall);
        }
    }

    fn tell(&self, event: Event, stall: &Stall) {
        guarded(|| self.logger.write(|| log::stall(event, stall)));
    }

    /// Logs what has become known of a stall since its first line, whatever the limits: that line
    /// counted.
    fn tell_more(&mut self, live: &LiveStall) {
        let is_dead = self.dead.contains(&live.runtime());
        let Some(told) = self.told_of(live) else { return };
        let stall = live.stall();
        if stall.site.is_some() && !told.with_site && !is_dead {
            told.with_site = true;
            self.tell(Event::Located, &stall);
        }
        if stall.stack.is_some() {
            guarded(|| self.logger.write(|| log::stack(&stall)));
            self.told.retain(|told| told.stall.id() != live.id());
        }
    }

    fn told_of(&mut self, live: &LiveStall) -> Option<&mut Told> {
        self.told.iter_mut().find(|told| told.stall.id() == live.id())
    }

    /// Writes a line about something else than a stall, or counts that it was held back.
    fn write(&mut self, topic: Topic, write: impl FnOnce(u64)) {
        match self.limiter.admit(clock::now(), topic) {
            Some(suppressed) => guarded(|| self.logger.write(|| write(suppressed))),
            None => drop(self.registry.suppressed.fetch_add(1, Relaxed)),
        }
    }
}

/// Runs code of others, which may panic.
fn guarded(run: impl FnOnce()) {
    drop(catch_unwind(AssertUnwindSafe(run)));
}
