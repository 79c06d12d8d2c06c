//! Passes the watchdog's events on to metrics, log, hooks, stacks and tick tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::{self, Nanos, nanos};
use crate::metrics::{Counters, Sink};
use crate::report::{self, FLUSH, Reports};
use crate::runtime::registry::Registry;
use crate::stack::{HolderNews, LIMITED, PollProof, Stacks, WantedHolder, WantedStack};
use crate::stall::{Cause, ENVIRONMENT, LiveStall, OFF, StackNews, StackOutcome, StackResult};
use crate::ticker;
use crate::watchdog::{Event, Events, StalledThread};

/// The output of counters and samples: either the page of `/metrics`, written at once, or a batch that
/// the reporter writes to the facade.
pub(super) type Out = Box<dyn Sink + Send>;

/// Consumes the watchdog's events on its thread, and so never blocks.
pub(super) struct Pipeline {
    registry: Arc<Registry>,
    reports: Reports,
    counters: Counters,
    out: Out,
    tick: Duration,
    unwritten: Unwritten,
    /// When the batch was last handed to the reporter.
    flushed: Nanos,
    stacks: Option<Stacks>,
}

/// What is not urgent, and written every [`WRITE_INTERVAL`]. On an idle machine the code and data for
/// writing leave the caches between two scans, so that writing would cost more than the scan.
#[derive(Default)]
struct Unwritten {
    scans: u64,
    late: Nanos,
    lags: Vec<(&'static str, Nanos)>,
    /// When it was last written.
    written: Nanos,
}

const WRITE_INTERVAL: Nanos = 200_000_000;
/// Lags that are kept. If there are more, all are written at once.
const MOST_LAGS: usize = 1024;
/// How often to retry at the end while a reader holds the store.
const LAST_TRIES: u32 = 1000;

impl Unwritten {
    fn write_lags(&mut self, sink: &mut dyn Sink) {
        for (runtime, lag) in self.lags.drain(..) {
            Counters::lag(sink, runtime, lag);
        }
    }
}

impl Pipeline {
    pub(super) fn new(
        registry: Arc<Registry>,
        reports: Reports,
        mut out: Out,
        (tick, sites): (Duration, usize),
        stacks: Option<Stacks>,
    ) -> Self {
        Counters::open(&mut *out, stacks.is_some());
        let (counters, unwritten) = (Counters::new(sites), Unwritten::default());
        Self { registry, reports, counters, out, tick, unwritten, flushed: 0, stacks }
    }

    /// Consumes the events of one scan. Their stalls are already in the store and in the status of
    /// their runtimes.
    pub(super) fn consume(&mut self, events: &mut Events) {
        if events.count_or_end_stalls() {
            // First: whoever is told of a stall finds it in the metrics.
            self.follow_stalls();
        }
        events.drain().for_each(|event| self.handle(event));
    }

    fn handle(&mut self, event: Event) {
        let Self { registry, reports, tick, .. } = self;
        let out = &mut *self.out;
        match event {
            Event::RuntimeAppeared(runtime) => {
                Counters::open_runtime(out, runtime.name);
                ticker::start(registry, &runtime, *tick);
            }
            Event::Lag { runtime, lag } => {
                self.unwritten.lags.push((runtime, lag));
                if self.unwritten.lags.len() >= MOST_LAGS {
                    self.unwritten.write_lags(out);
                }
            }
            Event::LagsLost(count) => Counters::lags_lost(out, count),
            Event::Frozen { runtime, cause, time } => Counters::frozen(out, runtime, cause, time),
            Event::HandlerBusy { handler, time } => Counters::busy(out, handler, time),
            Event::StallCounted { stall, thread } => self.stall_counted(&stall, *thread),
            Event::StallContinues { stall, thread, waits_on } => {
                reports.stall(report::Event::Continues, &stall);
                if let Some(thread) = thread {
                    if stall.may_have_stack_later() && self.admits() {
                        self.take_stack(&stall, &thread);
                    }
                    if waits_on && stall.may_have_holder_later() {
                        self.find_holder(&stall, &thread, 0);
                    }
                }
            }
            Event::StallSampled { stall, thread } => self.stall_sampled(&stall, *thread),
            Event::StallEnded(stall) => {
                Counters::ended(out, &stall);
                reports.stall(report::Event::Ended, &stall);
            }
            Event::Prove(proof) => self.prove(proof),
            Event::MapWorkers(runtime) => ticker::map_workers(registry, &runtime),
            Event::Rescue { runtime, first } => {
                // Spawning any task from outside wakes a parked worker.
                ticker::ping(registry, &runtime);
                if first {
                    Counters::rescued(out, runtime.name);
                    reports.rescued(runtime.name);
                }
            }
            Event::Ping(runtime) => ticker::ping(registry, &runtime),
            Event::Dead { runtime, frozen, stall } => {
                reports.dead(runtime.name, frozen, stall.as_ref());
            }
            Event::Scanned { now, late } => {
                self.unwritten.scans += 1;
                self.unwritten.late += late;
                if now.saturating_sub(self.unwritten.written) >= WRITE_INTERVAL {
                    self.write(now);
                }
            }
        }
    }

    // Stalls.

    fn stall_counted(&mut self, stall: &Arc<LiveStall>, mut thread: StalledThread) {
        let captures = self.captures(stall);
        // Before the request: the stack may arrive at once.
        self.reports.started(stall, thread.cause_report.take(), captures);
        if captures {
            self.take_stack(stall, &thread);
        }
        if stall.may_have_holder_later() {
            self.find_holder(stall, &thread, 0);
        }
    }

    /// A stall that lasts was looked at again.
    fn stall_sampled(&mut self, stall: &Arc<LiveStall>, mut thread: StalledThread) {
        let Some(report) = thread.cause_report.take() else { return };
        let is_lock = report.classification.cause == Cause::Lock;
        let why = if self.stacks.is_none() { OFF } else { LIMITED };
        if self.stacks.is_some() && self.admits() {
            let news = self.reports.later_news(stall, report);
            self.take(&thread, news);
        } else {
            self.reports.sampled(stall, report, why);
        }
        // Whether that is another wait than before is known once the stack has its names.
        if is_lock {
            self.find_holder(stall, &thread, 1);
        }
    }

    fn take_stack(&self, stall: &Arc<LiveStall>, thread: &StalledThread) {
        self.take(thread, self.reports.stack_news(stall));
    }

    fn take(&self, thread: &StalledThread, news: Box<dyn FnMut(StackNews) + Send>) {
        let Some(stacks) = &self.stacks else { return };
        stacks.take(WantedStack { thread: thread.id, still: Box::new(thread.still()), news });
    }

    /// Has it found out who has what a stall waits for. The stall may have so many new samples until then.
    fn find_holder(&mut self, stall: &Arc<LiveStall>, thread: &StalledThread, new: usize) {
        let Some(stacks) = self.stacks.as_mut().filter(|stacks| stacks.finds_holders()) else {
            return;
        };
        let (registry, before) = (Arc::downgrade(&self.registry), self.registry.open_polls());
        let handler_of = Box::new(move |thread, moves: bool| {
            let registry = registry.upgrade()?;
            let mut open = registry.open_polls().into_iter();
            let poll = open.find(|poll| poll.identity.thread == thread)?;
            // While a thread moves, another poll may have begun.
            (!moves || before.contains(&poll)).then(|| registry.handler(&poll))?
        });
        let (still, news) = (Box::new(thread.still()), self.reports.held_by(stall, new));
        let news = HolderNews::new(news);
        stacks.find_holder(WantedHolder { thread: thread.id, still, handler_of, news });
    }

    /// Whether there is CPU time for another stack. Counts those that are left out.
    fn admits(&mut self) -> bool {
        let admits = self.stacks.as_mut().is_some_and(|stacks| stacks.admits(clock::now()));
        if !admits {
            self.registry.captures[StackOutcome::Limited as usize].fetch_add(1, Relaxed);
        }
        admits
    }

    fn follow_stalls(&mut self) -> bool {
        self.counters.follow_stalls(&mut *self.out, &self.registry.store)
    }

    /// Does nothing without stacks: no site is known then.
    fn follow_sites(&mut self) -> bool {
        self.stacks.is_none() || self.counters.follow_sites(&mut *self.out, &self.registry.store)
    }

    /// Whether to take a stack of the stall. If not, its record says why.
    fn captures(&mut self, stall: &LiveStall) -> bool {
        let result = if stall.cause().is_environment() {
            StackResult::missing(ENVIRONMENT)
        } else if self.stacks.is_none() {
            StackResult::missing(OFF)
        } else if stall.has_stack_result() {
            return false;
        } else if self.admits() {
            return true;
        } else {
            StackResult {
                may_come: true,
                last_seen: self.registry.store.last_site(stall.handler(), stall.cause()),
                ..StackResult::missing(LIMITED)
            }
        };
        stall.set_stack_result(result);
        false
    }

    /// Requests the stack that a proof needs.
    fn prove(&self, proof: Arc<PollProof>) {
        let Some(stacks) = &self.stacks else { return proof.not_shown() };
        let registry = Arc::downgrade(&self.registry);
        stacks.prove(proof, move |outcome| {
            if let Some(registry) = registry.upgrade() {
                registry.captures[outcome as usize].fetch_add(1, Relaxed);
            }
        });
    }

    /// Writes what is unwritten, and brings counters up to the totals of others.
    fn write(&mut self, now: Nanos) {
        let sink = &mut *self.out;
        let unwritten = &mut self.unwritten;
        unwritten.written = now;
        let scans = std::mem::take(&mut unwritten.scans);
        Counters::scanned(sink, scans, std::mem::take(&mut unwritten.late));
        unwritten.write_lags(sink);
        self.counters.follow_registry(sink, &self.registry);
        self.follow_stalls();
        self.follow_sites();
        if self.registry.labels.all_unmatched() {
            self.reports.all_unmatched();
        }
        if now.saturating_sub(self.flushed) >= nanos(FLUSH) {
            self.flushed = now;
            self.hand_on();
        }
    }

    /// Hands the batch to the reporter.
    fn hand_on(&mut self) {
        if let Some(batch) = self.out.batch()
            && !batch.is_empty()
        {
            let lost = std::mem::take(&mut batch.lost);
            Counters::lags_lost(batch, lost);
            self.reports.metrics(batch);
        }
    }
}

impl Drop for Pipeline {
    /// Writes the last metrics.
    fn drop(&mut self) {
        self.write(clock::now());
        // A reader holds the store for the moment that a copy takes.
        for _ in 0..LAST_TRIES {
            if self.follow_stalls() && self.follow_sites() {
                break;
            }
            std::thread::yield_now();
        }
        self.hand_on();
    }
}
