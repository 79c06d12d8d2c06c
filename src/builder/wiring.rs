//! From the watchdog to metrics, log, hooks and tick tasks.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::capture::{Captured, Capturer, Job, Outcome};
use crate::clock::{self, Nanos, nanos};
use crate::detector::hub::Hub;
use crate::detector::ring::{Entry, Taken};
use crate::detector::runtime::Runtime;
use crate::metrics::{Accounts, Sink};
use crate::probe;
use crate::record::Cause;
use crate::report::{Event, FLUSH, Reports};
use crate::watchdog::{Exam, Found, Observer};

/// The one way out for counters and samples: a recorder of our own, written at once, or a batch
/// for the facade, by way of the reporter.
pub(super) type Out = Box<dyn Sink + Send>;

pub(super) struct Wiring {
    hub: Arc<Hub>,
    reports: Reports,
    accounts: Accounts,
    out: Out,
    tick: Duration,
    unwritten: Unwritten,
    flushed: Nanos,
    capturer: Option<Arc<Capturer>>,
    /// When the last stack of a handler was asked for.
    captured: HashMap<&'static str, Nanos>,
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
/// Stacks of one handler are taken no more often.
const CAPTURE: Nanos = 1_000_000_000;

impl Unwritten {
    fn write_lags(&mut self, sink: &mut dyn Sink) {
        for (runtime, lag) in self.lags.drain(..) {
            Accounts::lag(sink, runtime, lag);
        }
    }
}

impl Wiring {
    pub(super) fn new(
        hub: Arc<Hub>,
        reports: Reports,
        mut out: Out,
        pace: (Duration, usize),
        capturer: Option<Arc<Capturer>>,
    ) -> Self {
        Accounts::open(&mut *out);
        if capturer.is_some() {
            Accounts::open_captures(&mut *out, Outcome::ALL.map(Outcome::as_str));
        }
        let (tick, sites) = pace;
        let accounts = Accounts::new(sites);
        let (unwritten, captured) = (Unwritten::default(), HashMap::new());
        Self { hub, reports, accounts, out, tick, unwritten, flushed: 0, capturer, captured }
    }

    /// Writes what is unwritten, and follows what others count.
    fn write(&mut self, now: Nanos) {
        let sink = &mut *self.out;
        let unwritten = &mut self.unwritten;
        unwritten.written = now;
        self.accounts.scanned(
            sink,
            std::mem::take(&mut unwritten.scans),
            std::mem::take(&mut unwritten.late),
        );
        unwritten.write_lags(sink);
        self.accounts.suppressed(sink, self.hub.suppressed.load(Relaxed));
        self.accounts.shed(sink, self.hub.shed.load(Relaxed));
        if self.capturer.is_some() {
            let total = |outcome: Outcome| self.hub.captures[outcome as usize].load(Relaxed);
            let totals = Outcome::ALL.map(|outcome| (outcome.as_str(), total(outcome)));
            self.accounts.captures(sink, totals);
            self.accounts.settle_sites(sink, now);
        }
        self.hub.each_allowed(|name, total| self.accounts.allowed(sink, name, total));
        if self.hub.markers.all_unmatched() {
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
            Accounts::lags_lost(batch, lost);
            self.reports.metrics(batch);
        }
    }

    /// Whether a stack of that handler may be taken again.
    fn captures(&mut self, stall: &Arc<Entry>) -> bool {
        if self.capturer.is_none() || stall.cause().is_environment() {
            return false;
        }
        self.accounts.expect_site(stall);
        if stall.is_taken() {
            return false;
        }
        let now = clock::now();
        let last = self.captured.get(stall.handler());
        if last.is_some_and(|last| now - last < CAPTURE) {
            let missing = "limited: one was taken of this handler within the last second";
            stall.set_taken(Taken::missing(missing));
            self.hub.captures[Outcome::Limited as usize].fetch_add(1, Relaxed);
            return false;
        }
        self.captured.insert(stall.handler(), now);
        true
    }

    /// Asks for the stack of a stall.
    fn capture(&self, stall: &Arc<Entry>, found: &Found) {
        let Some(capturer) = &self.capturer else { return };
        let job = Job {
            thread: found.thread,
            still: Box::new(found.still()),
            done: self.reports.captured(stall),
        };
        if let Err(job) = capturer.ask(job) {
            (job.done)(Captured::without(Outcome::Limited, "limited: too many wait to be taken"));
        }
    }
}

impl Observer for Wiring {
    fn runtime_appeared(&mut self, runtime: &Arc<Runtime>) {
        Accounts::open_runtime(&mut *self.out, runtime.name);
        probe::arm(&self.hub, runtime, self.tick);
    }

    fn runtime_ended(&mut self, _: &Arc<Runtime>) {}

    fn lag(&mut self, runtime: &'static str, lag: Nanos) {
        self.unwritten.lags.push((runtime, lag));
        if self.unwritten.lags.len() >= MOST_LAGS {
            self.unwritten.write_lags(&mut *self.out);
        }
    }

    fn lags_lost(&mut self, count: u64) {
        Accounts::lags_lost(&mut *self.out, count);
    }

    fn frozen(&mut self, runtime: &'static str, cause: Cause, time: Nanos) {
        self.accounts.frozen(&mut *self.out, runtime, cause, time);
    }

    fn counted(&mut self, stall: &Arc<Entry>, mut found: Found) {
        self.accounts.counted(&mut *self.out, &stall.stall());
        let captures = self.captures(stall);
        // Told before it is asked for: the stack may be there at once.
        self.reports.started(stall, found.clue.take(), captures);
        if captures {
            self.capture(stall, &found);
        }
    }

    fn stalled(&mut self, stall: &Arc<Entry>, time: Nanos) {
        self.accounts.stalled(&mut *self.out, stall, time);
    }

    fn delayed(&mut self, stall: &Arc<Entry>, requests: u64) {
        self.accounts.delayed(&mut *self.out, stall, requests);
    }

    fn continues(&mut self, stall: &Arc<Entry>) {
        self.reports.stall(Event::Continues, stall);
    }

    fn ended(&mut self, stall: &Arc<Entry>) {
        self.accounts.ended(&mut *self.out, stall, clock::now());
        self.reports.stall(Event::Ended, stall);
    }

    fn busy(&mut self, handler: &'static str, time: Nanos) {
        self.accounts.busy(&mut *self.out, handler, time);
    }

    fn examine(&mut self, exam: Arc<Exam>) {
        let Some(capturer) = &self.capturer else { return exam.not_held() };
        let job = Job {
            thread: exam.thread,
            still: Box::new(|| true),
            done: self.reports.examined(&exam),
        };
        if let Err(job) = capturer.ask(job) {
            (job.done)(Captured::without(Outcome::Limited, ""));
        }
    }

    fn map_workers(&mut self, runtime: &Arc<Runtime>) {
        probe::map_workers(&self.hub, runtime);
    }

    fn rescue(&mut self, runtime: &Arc<Runtime>, first: bool) {
        probe::ask(&self.hub, runtime);
        if first {
            Accounts::rescued(&mut *self.out, runtime.name);
            self.reports.rescued(runtime.name);
        }
    }

    fn ask(&mut self, runtime: &Arc<Runtime>) {
        probe::ask(&self.hub, runtime);
    }

    fn dead(&mut self, runtime: &Arc<Runtime>, frozen: Nanos, stall: Option<&Arc<Entry>>) {
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

impl Drop for Wiring {
    /// The last metrics go out too.
    fn drop(&mut self) {
        self.write(clock::now());
        self.hand_on();
    }
}
