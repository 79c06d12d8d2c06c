//! From the watchdog to metrics, log, hooks and tick tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::clock::{self, Nanos, nanos};
use crate::metrics::{Counters, Sink};
use crate::report::{Event, FLUSH, Reports};
use crate::runtime::Runtime;
use crate::runtime::registry::Registry;
use crate::stack::PollProof;
use crate::stack::{Stacks, WantedStack};
use crate::stall::{Cause, ENVIRONMENT, LiveStall, OFF, StackOutcome, StackResult};
use crate::ticker;
use crate::watchdog::{FoundStall, Observer};

/// The one way out for counters and samples: a recorder of our own, written at once, or a batch
/// for the facade, by way of the reporter.
pub(super) type Out = Box<dyn Sink + Send>;

pub(super) struct Pipeline {
    registry: Arc<Registry>,
    reports: Reports,
    counters: Counters,
    out: Out,
    tick: Duration,
    unwritten: Unwritten,
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
/// How often a reader of the store gets out of the way at the end, at most.
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
        pace: (Duration, usize),
        stacks: Option<Stacks>,
    ) -> Self {
        Counters::open(&mut *out);
        if stacks.is_some() {
            Counters::open_captures(&mut *out, StackOutcome::ALL.map(StackOutcome::as_str));
        }
        let (tick, sites) = pace;
        let counters = Counters::new(sites);
        let unwritten = Unwritten::default();
        Self { registry, reports, counters, out, tick, unwritten, flushed: 0, stacks }
    }

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
        self.counters.suppressed(sink, self.registry.suppressed.load(Relaxed));
        self.counters.shed(sink, self.registry.shed.load(Relaxed));
        if self.stacks.is_some() {
            let total =
                |outcome: StackOutcome| self.registry.captures[outcome as usize].load(Relaxed);
            let totals = StackOutcome::ALL.map(|outcome| (outcome.as_str(), total(outcome)));
            self.counters.captures(sink, totals);
        }
        self.counters.follow_stalls(sink, &self.registry.store, self.stacks.is_some());
        self.registry.allowed_blocks.each(|name, total| self.counters.allowed(sink, name, total));
        if self.registry.labels.all_unmatched() {
            self.reports.all_unmatched();
        }
        if now.saturating_sub(self.flushed) >= nanos(FLUSH) {
            self.flushed = now;
            self.hand_on();
        }
    }

    /// Writes what the store sums up, at once: who hears of a stall finds it in the metrics.
    fn follow_stalls(&mut self) -> bool {
        let with_sites = self.stacks.is_some();
        self.counters.follow_stalls(&mut *self.out, &self.registry.store, with_sites)
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

    /// Whether a stack of that handler may be taken again.
    fn captures(&mut self, stall: &Arc<LiveStall>) -> bool {
        if stall.cause().is_environment() {
            stall.set_stack_result(StackResult::missing(ENVIRONMENT));
            return false;
        }
        let Some(stacks) = self.stacks.as_mut() else {
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
    fn capture(&self, stall: &Arc<LiveStall>, found: &FoundStall) {
        let Some(stacks) = &self.stacks else { return };
        stacks.take(WantedStack {
            thread: found.thread,
            still: Box::new(found.still()),
            sampled: self.reports.sampled(stall),
            named: self.reports.named(stall),
        });
    }
}

impl Observer for Pipeline {
    fn runtime_appeared(&mut self, runtime: &Arc<Runtime>) {
        Counters::open_runtime(&mut *self.out, runtime.name);
        ticker::arm(&self.registry, runtime, self.tick);
    }

    fn runtime_ended(&mut self, _: &Arc<Runtime>) {}

    fn lag(&mut self, runtime: &'static str, lag: Nanos) {
        self.unwritten.lags.push((runtime, lag));
        if self.unwritten.lags.len() >= MOST_LAGS {
            self.unwritten.write_lags(&mut *self.out);
        }
    }

    fn lags_lost(&mut self, count: u64) {
        Counters::lags_lost(&mut *self.out, count);
    }

    fn frozen(&mut self, runtime: &'static str, cause: Cause, time: Nanos) {
        self.counters.frozen(&mut *self.out, runtime, cause, time);
    }

    fn counted(&mut self, stall: &Arc<LiveStall>, mut found: FoundStall) {
        self.follow_stalls();
        let captures = self.captures(stall);
        // Told before it is asked for: the stack may be there at once.
        self.reports.started(stall, found.cause_report.take(), captures);
        if captures {
            self.capture(stall, &found);
        }
    }

    fn stalled(&mut self, _: &Arc<LiveStall>, _: Nanos) {}

    fn delayed(&mut self, _: &Arc<LiveStall>, _: u64) {}

    fn continues(&mut self, stall: &Arc<LiveStall>) {
        self.reports.stall(Event::Continues, stall);
    }

    fn ended(&mut self, stall: &Arc<LiveStall>) {
        self.follow_stalls();
        Counters::ended(&mut *self.out, stall);
        self.reports.stall(Event::Ended, stall);
    }

    fn busy(&mut self, handler: &'static str, time: Nanos) {
        self.counters.busy(&mut *self.out, handler, time);
    }

    fn examine(&mut self, proof: Arc<PollProof>) {
        let Some(stacks) = &self.stacks else { return proof.not_held() };
        let registry = Arc::downgrade(&self.registry);
        stacks.prove(proof, move |outcome| {
            if let Some(registry) = registry.upgrade() {
                registry.captures[outcome as usize].fetch_add(1, Relaxed);
            }
        });
    }

    fn map_workers(&mut self, runtime: &Arc<Runtime>) {
        ticker::map_workers(&self.registry, runtime);
    }

    fn rescue(&mut self, runtime: &Arc<Runtime>, first: bool) {
        ticker::ask(&self.registry, runtime);
        if first {
            Counters::rescued(&mut *self.out, runtime.name);
            self.reports.rescued(runtime.name);
        }
    }

    fn ask(&mut self, runtime: &Arc<Runtime>) {
        ticker::ask(&self.registry, runtime);
    }

    fn dead(&mut self, runtime: &Arc<Runtime>, frozen: Nanos, stall: Option<&Arc<LiveStall>>) {
        self.reports.dead(runtime.name, frozen, stall);
    }

    fn scanned(&mut self, now: Nanos, late: Nanos) {
        #[cfg(feature = "__bench")]
        super::bench::scanned(late);
        self.unwritten.scans += 1;
        self.unwritten.late += late;
        if now.saturating_sub(self.unwritten.written) >= WRITE {
            self.write(now);
        }
    }
}

impl Drop for Pipeline {
    /// The last metrics go out too.
    fn drop(&mut self) {
        self.write(clock::now());
        // A reader may have been in the way, for the moment that a copy takes.
        for _ in 0..LAST_TRIES {
            if self.follow_stalls() {
                break;
            }
            std::thread::yield_now();
        }
        self.hand_on();
    }
}
