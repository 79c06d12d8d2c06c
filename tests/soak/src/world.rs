//! What all threads of a run share.

use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use tower_stall::{Stall, StallDetector};

use crate::broken::Broken;
use crate::judge::{Court, Fault, Incident, Plan, Record};
use crate::kit::{self, Row};
use crate::machine::{Lost, Witness};
use crate::service::{Moment, Stage};
use crate::stop::Stop;
use crate::timed::LongPolls;

/// For what must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Numbers for the report.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: AtomicU64,
    pub(crate) failed_requests: AtomicU64,
    pub(crate) panics: AtomicU64,
    pub(crate) disconnects: AtomicU64,
    pub(crate) runtimes: AtomicU64,
    pub(crate) detectors: AtomicU64,
    pub(crate) threads: AtomicU64,
    pub(crate) scrapes: AtomicU64,
    pub(crate) series: AtomicU64,
    /// How often hook, log or recorder blocked for a second.
    pub(crate) pauses: AtomicU64,
    /// Calls of the hook for stalls that have ended.
    pub(crate) hooked: AtomicU64,
}

/// Counts one more.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) broken: Broken,
    pub(crate) stall: StallDetector,
    pub(crate) stage: Stage,
    /// Of handlers of which nothing is expected.
    pub(crate) polls: LongPolls,
    /// Where the service is: on the runtime with many workers, and on the one with one thread.
    pub(crate) addresses: [SocketAddr; 2],
    pub(crate) stop: Stop,
    pub(crate) witness: Witness,
    pub(crate) counts: Arc<Counts>,
    /// The longest answer of each page.
    pub(crate) slowest: Mutex<[Duration; 3]>,
    court: Mutex<Court>,
    last_id: AtomicU64,
    begin: (Instant, SystemTime),
}

impl World {
    pub(crate) fn new(
        seed: u64,
        stall: StallDetector,
        stage: Stage,
        polls: LongPolls,
        addresses: [SocketAddr; 2],
        counts: Arc<Counts>,
    ) -> Self {
        Self {
            seed,
            broken: Broken::from_environment(),
            stall,
            stage,
            polls,
            addresses,
            stop: Stop::default(),
            witness: Witness::default(),
            counts,
            slowest: Mutex::default(),
            court: Mutex::default(),
            last_id: AtomicU64::new(0),
            begin: (Instant::now(), SystemTime::now()),
        }
    }

    pub(crate) fn court(&self) -> MutexGuard<'_, Court> {
        self.court.lock().expect("not poisoned")
    }

    pub(crate) fn complain(&self, what: String) {
        self.court().complaints.push(what);
    }

    /// Time since the begin.
    pub(crate) fn now(&self) -> Duration {
        self.begin.0.elapsed()
    }

    /// What the machine took between two times of the run, which are over for a while.
    pub(crate) fn lost(&self, from: Duration, to: Duration) -> Lost {
        self.witness.lost(self.begin.0 + from, self.begin.0 + to)
    }

    /// Judges all that has its last word at that time.
    pub(crate) fn settle(&self, at: Duration) {
        let mut court = self.court();
        for long in self.polls.take() {
            let begin = long.begin.at.saturating_duration_since(self.begin.0);
            let incident = Incident { handler: long.handler, begin };
            court.add_incident(incident);
        }
        court.settle(at, |from, to| self.lost(from, to));
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.last_id.fetch_add(1, Relaxed) + 1
    }

    /// A trace id of this run.
    pub(crate) fn trace(&self, id: u64) -> u128 {
        u128::from(self.seed | 1) << 64 | u128::from(id)
    }

    /// A fault of the kit that comes with a request, or in a task of one.
    pub(crate) fn plan(&self, row: &Row, circumstances: String) -> Plan {
        let id = self.next_id();
        // A task is found after some more scans: see docs/capture.md.
        let needs = Duration::from_millis(if row.is_task() { 350 } else { 250 });
        Plan {
            id,
            name: row.expected.name,
            circumstances,
            trace: (!row.is_task()).then(|| self.trace(id)),
            handler: row.handler(),
            cause: row.expected.cause,
            function: row.function(),
            needs,
        }
    }

    /// The fault that came of a plan.
    pub(crate) fn fault(&self, plan: Plan, begin: &Moment, end: &Moment) -> Fault {
        let since = |moment: &Moment| moment.at.saturating_duration_since(self.begin.0);
        let place = plan.function.and_then(kit::place);
        // A task begins when it is polled.
        let of_task = place.as_ref().map(|(_, _, at)| at).filter(|_| plan.trace.is_none());
        let begin = of_task.unwrap_or(begin);
        let site = plan.function.map(|function| {
            let (file, line) =
                place.clone().map(|(file, line, _)| (file, line)).unwrap_or_default();
            (function.to_owned(), file, line + self.broken.lines_below(plan.name))
        });
        Fault {
            plan,
            site,
            begin: since(begin),
            end: since(end),
            without_cpu: begin.without_cpu(end),
            lost: Lost::default(),
        }
    }

    pub(crate) fn record(&self, stall: &Stall) -> Record {
        let site = stall.site.as_ref().map(|site| {
            let place = site.file.as_deref().map(kit::plain).zip(site.line);
            (kit::short(&site.function).to_owned(), place)
        });
        Record {
            handler: stall.handler.to_string(),
            cause: stall.cause.as_str(),
            is_environment: stall.cause.is_environment(),
            site,
            stack_missing: stall.stack_missing.as_deref().map(str::to_owned),
            trace: stall.trace_id,
            begin: stall.started_at.duration_since(self.begin.1).unwrap_or_default(),
            text: text(stall),
        }
    }
}

/// A record for people.
fn text(stall: &Stall) -> String {
    let name = |frame: &Arc<tower_stall::Frame>| frame.to_string();
    let frames = stall.stack.as_ref().map_or(&[][..], |stack| &stack.frames);
    let frames: Vec<_> = frames.iter().take(16).map(name).collect();
    let Stall { id, runtime, worker, handler, cause, detail, site, .. } = stall;
    format!(
        "stall {id} of {handler} on {runtime} {worker:?} for {:?}: {cause}, {detail:?}, {site:?}, \
        {:?}, {:?}, trace {:x?}, stack {frames:#?}",
        stall.duration, stall.site_missing, stall.stack_missing, stall.trace_id
    )
}
