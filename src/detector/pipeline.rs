//! From the watchdog to metrics, log, hooks and tick tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::{self, Nanos, nanos};
use crate::metrics::{Counters, Sink};
use crate::report::{self, FLUSH, Reports};
use crate::runtime::registry::Registry;
use crate::stack::{PollProof, Stacks, WantedStack};
use crate::stall::{ENVIRONMENT, LiveStall, OFF, StackOutcome, StackResult};
use crate::ticker;
use crate::watchdog::{Event, Events, StalledThread};

/// The one way out for counters and samples: a recorder of our own, written at once, or a batch
/// for the facade, by way of the reporter.
pub(super) type Out = Box<dyn Sink + Send>;

/// Takes the watchdog's events, on its thread, and so never blocks.
pub(super) struct Pipeline {
    registry: Arc<Registry>,
    reports: Reports,
    counters: Counters,
    out: Out,
    tick: Duration,
    unwritten: Unwritten,
    /// When the batch was handed to the reporter last.
    flushed: Nanos,
    stacks: Option<Stacks>,
}

/// What scans bring that nobody waits for. It is written now and then: on an idle machine the code
/// and data that writing takes have left the caches by the next scan, and cost more than the scan.
#[derive(Default)]
struct Unwritten {
    scans: u64,
    late: Nanos,
    lags: Vec<(&'static str, Nanos)>,
    /// When it was written last.
    written: Nanos,
}

/// How often it is written.
const WRITE: Nanos = 200_000_000;
/// Lags that are kept for then: further ones are written at once.
const MOST_LAGS: usize = 1024;
/// How often a reader of the store is waited for at the end, at most.
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
        let counters = Counters::new(sites);
        let unwritten = Unwritten::default();
        Self { registry, reports, counters, out, tick, unwritten, flushed: 0, stacks }
    }

    /// Takes the events of one scan. What they say of a stall stands in the store and in the status
    /// of its runtime already.
    pub(super) fn consume(&mut self, events: &mut Events) {
        if events.count_or_end_stalls() {
            // At once: who hears of a stall finds it in the metrics.
            self.follow_stalls();
        }
        events.drain().for_each(|event| self.take(event));
    }

    fn take(&mut self, event: Event) {
        let Self { registry, reports, counters, tick, .. } = self;
        let out = &mut *self.out;
        match event {
            Event::RuntimeAppeared(runtime) => {
                Counters::open_runtime(out, runtime.name);
                ticker::arm(registry, &runtime, *tick);
            }
            Event::Lag { runtime, lag } => {
                self.unwritten.lags.push((runtime, lag));
                if self.unwritten.lags.len() >= MOST_LAGS {
                    self.unwritten.write_lags(out);
                }
            }
            Event::LagsLost(count) => Counters::lags_lost(out, count),
            Event::Frozen { runtime, cause, time } => counters.frozen(out, runtime, cause, time),
            Event::HandlerBusy { handler, time } => counters.busy(out, handler, time),
            Event::StallCounted { stall, thread } => self.stall_counted(&stall, *thread),
            Event::StallContinues(stall) => reports.stall(report::Event::Continues, &stall),
            Event::StallEnded(stall) => self.stall_ended(&stall),
            Event::Prove(proof) => self.prove(proof),
            Event::MapWorkers(runtime) => ticker::map_workers(registry, &runtime),
            Event::Rescue { runtime, first } => {
                // Any task from outside wakes a parked worker.
                ticker::ask(registry, &runtime);
                if first {
                    Counters::rescued(out, runtime.name);
                    reports.rescued(runtime.name);
                }
            }
            Event::Ping(runtime) => ticker::ask(registry, &runtime),
            Event::Dead { runtime, frozen, stall } => {
                reports.dead(runtime.name, frozen, stall.as_ref());
            }
            Event::Scanned { now, late } => {
                self.unwritten.scans += 1;
                self.unwritten.late += late;
                if now.saturating_sub(self.unwritten.written) >= WRITE {
                    self.write(now);
                }
            }
        }
    }

    // Stalls.

    fn stall_counted(&mut self, stall: &Arc<LiveStall>, mut thread: StalledThread) {
        let captures = self.captures(stall);
        // Told before it is asked for: the stack may be there at once.
        self.reports.started(stall, thread.cause_report.take(), captures);
        if captures {
            self.capture(stall, &thread);
        }
    }

    fn stall_ended(&mut self, stall: &Arc<LiveStall>) {
        Counters::ended(&mut *self.out, stall);
        self.reports.stall(report::Event::Ended, stall);
    }

    fn follow_stalls(&mut self) -> bool {
        self.counters.follow_stalls(&mut *self.out, &self.registry.store)
    }

    /// Without stacks no site is ever known.
    fn follow_sites(&mut self) -> bool {
        self.stacks.is_none() || self.counters.follow_sites(&mut *self.out, &self.registry.store)
    }

    // Stacks.

    /// Whether a stack of that stall is to be taken. Where none is, the record says why.
    fn captures(&mut self, stall: &LiveStall) -> bool {
        if stall.cause().is_environment() {
            stall.set_stack_result(StackResult::missing(ENVIRONMENT));
            return false;
        }
        let Some(stacks) = &mut self.stacks else {
            stall.set_stack_result(StackResult::missing(OFF));
            return false;
        };
        if stall.has_stack_result() {
            return false;
        }
        match stacks.admit(stall.handler(), clock::now()) {
            Ok(()) => true,
            Err(why) => {
                stall.set_stack_result(StackResult::missing(why));
                self.registry.captures[StackOutcome::Limited as usize].fetch_add(1, Relaxed);
                false
            }
        }
    }

    /// Asks for the stack of a stall.
    fn capture(&self, stall: &Arc<LiveStall>, thread: &StalledThread) {
        let Some(stacks) = &self.stacks else { return };
        stacks.take(WantedStack {
            thread: thread.id,
            still: Box::new(thread.still()),
            sampled: self.reports.sampled(stall),
            named: self.reports.named(stall),
        });
    }

    /// Asks for a stack that tells whether a thread is in one poll.
    fn prove(&self, proof: Arc<PollProof>) {
        let Some(stacks) = &self.stacks else { return proof.not_held() };
        let registry = Arc::downgrade(&self.registry);
        stacks.prove(proof, move |outcome| {
            if let Some(registry) = registry.upgrade() {
                registry.captures[outcome as usize].fetch_add(1, Relaxed);
            }
        });
    }

    // What is written now and then.

    /// Writes what is unwritten, and follows what others count.
    fn write(&mut self, now: Nanos) {
        let sink = &mut *self.out;
        let unwritten = &mut self.unwritten;
        unwritten.written = now;
        self.counters.scanned(
            sink,
            std::mem::take(&mut unwritten.scans),
            std::mem::take(&mut unwritten.late),
        );
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

    /// Hands on what waits for the reporter.
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
    /// The last metrics go out too.
    fn drop(&mut self) {
        self.write(clock::now());
        // A reader may have been in the way, for the moment that a copy takes.
        for _ in 0..LAST_TRIES {
            if self.follow_stalls() && self.follow_sites() {
                break;
            }
            std::thread::yield_now();
        }
        self.hand_on();
    }
}
