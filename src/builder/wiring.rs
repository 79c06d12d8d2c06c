//! From the watchdog to metrics, log, hooks and tick tasks.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::causes::Clue;
use crate::clock::{Nanos, nanos};
use crate::detector::hub::Hub;
use crate::detector::ring::Entry;
use crate::detector::runtime::Runtime;
use crate::metrics::{Accounts, Sink};
use crate::probe;
use crate::record::Cause;
use crate::report::{Event, FLUSH, Reports};
use crate::watchdog::Observer;

/// The one way out for counters and samples: a recorder of our own, written at once, or a batch
/// for the facade, by way of the reporter.
pub(super) type Out = Box<dyn Sink + Send>;

pub(super) struct Wiring {
    hub: Arc<Hub>,
    reports: Reports,
    accounts: Accounts,
    out: Out,
    tick: Duration,
    flushed: Nanos,
}

impl Wiring {
    pub(super) fn new(hub: Arc<Hub>, reports: Reports, mut out: Out, tick: Duration) -> Self {
        Accounts::open(&mut *out);
        Self { hub, reports, accounts: Accounts::default(), out, tick, flushed: 0 }
    }
}

impl Observer for Wiring {
    fn runtime_appeared(&mut self, runtime: &Arc<Runtime>) {
        Accounts::open_runtime(&mut *self.out, runtime.name);
        probe::arm(&self.hub, runtime, self.tick);
    }

    fn runtime_ended(&mut self, _: &Arc<Runtime>) {}

    fn lag(&mut self, runtime: &'static str, lag: Nanos) {
        Accounts::lag(&mut *self.out, runtime, lag);
    }

    fn lags_lost(&mut self, count: u64) {
        Accounts::lags_lost(&mut *self.out, count);
    }

    fn frozen(&mut self, runtime: &'static str, cause: Cause, time: Nanos) {
        self.accounts.frozen(&mut *self.out, runtime, cause, time);
    }

    fn counted(&mut self, stall: &Arc<Entry>, clue: Option<Clue>) {
        self.accounts.counted(&mut *self.out, &stall.stall());
        self.reports.started(stall, clue);
    }

    fn stalled(&mut self, stall: &Arc<Entry>, time: Nanos) {
        self.accounts.stalled(&mut *self.out, &stall.stall(), time);
    }

    fn continues(&mut self, stall: &Arc<Entry>) {
        self.reports.stall(Event::Continues, stall);
    }

    fn ended(&mut self, stall: &Arc<Entry>) {
        Accounts::ended(&mut *self.out, &stall.stall());
        self.reports.stall(Event::Ended, stall);
    }

    fn busy(&mut self, handler: &'static str, time: Nanos) {
        self.accounts.busy(&mut *self.out, handler, time);
    }

    fn scanned(&mut self, now: Nanos, late: Nanos) {
        let sink = &mut *self.out;
        self.accounts.scanned(sink, late);
        self.accounts.suppressed(sink, self.hub.suppressed.load(Relaxed));
        self.hub.each_allowed(|name, total| self.accounts.allowed(sink, name, total));
        if self.hub.markers.all_unmatched() {
            self.reports.all_unmatched();
        }
        if let Some(batch) = self.out.batch()
            && now.saturating_sub(self.flushed) >= nanos(FLUSH)
            && !batch.is_empty()
        {
            self.flushed = now;
            let lost = std::mem::take(&mut batch.lost);
            Accounts::lags_lost(batch, lost);
            self.reports.metrics(batch);
        }
    }
}

impl Drop for Wiring {
    /// The last metrics go out too.
    fn drop(&mut self) {
        if let Some(batch) = self.out.batch() {
            self.reports.metrics(batch);
        }
    }
}
