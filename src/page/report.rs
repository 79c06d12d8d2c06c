//! What is known at one moment, as plain data.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use super::verdict::{Verdict, judge};
use crate::clock::{self, Nanos};
use crate::detector::hub::Hub;
use crate::detector::ledger::{Key, Tally};
use crate::detector::ring::Known;
use crate::detector::runtime::Runtime;
use crate::record::{Cause, Stall};

/// See the module.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) now: SystemTime,
    /// The start of the detector: sums count from there.
    pub(super) since: SystemTime,
    pub(super) program: String,
    pub(super) process: u32,
    pub(super) threshold: Duration,
    /// How stacks are taken.
    pub(super) capture: &'static str,
    pub(super) verdict: Verdict,
    pub(super) runtimes: Vec<Watched>,
    /// Of the program's own doing, the most time first.
    pub(super) sites: Vec<(Key, Tally)>,
    /// What lies outside the program, the most time first.
    pub(super) environment: Vec<(Cause, Tally)>,
    /// Newest first.
    pub(super) in_progress: Vec<Stall>,
    /// The last that are over, newest first.
    pub(super) recent: Vec<Stall>,
    /// Stalls that are kept one by one; sums have all.
    pub(super) most_kept: usize,
    /// Log lines and reports that were held back.
    pub(super) suppressed: u64,
}

/// A runtime.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    pub(super) name: &'static str,
    pub(super) workers: usize,
    pub(super) stalled: usize,
    pub(super) saturated: usize,
    /// Time since the last tick; `None` before the first, and without timers.
    pub(super) heartbeat_age: Option<Duration>,
    /// For how long it has been frozen by now, less the environment's time.
    pub(super) frozen: Duration,
    pub(super) dead: bool,
    /// Whether its freezes count for the health of the process.
    pub(super) counts: bool,
    /// The largest lag of each step, the last is now.
    pub(super) lag: Vec<Option<Nanos>>,
}

impl Report {
    pub(super) fn gather(hub: &Hub, since: SystemTime, on: bool) -> Self {
        let now = clock::now();
        let runtimes: Vec<_> =
            hub.runtimes().iter().map(|runtime| Watched::look(runtime, now)).collect();
        let Known { sums, in_progress, recent } = hub.ring.look();
        let (environment, mut sites): (Vec<_>, Vec<_>) =
            sums.into_iter().partition(|(key, _)| key.cause.is_environment());
        sites.sort_by(|(one, a), (other, b)| {
            (b.time, one.handler, one.cause.as_str()).cmp(&(
                a.time,
                other.handler,
                other.cause.as_str(),
            ))
        });
        let verdict =
            if on { judge(&runtimes, &in_progress, &sites) } else { Verdict::switched_off() };
        Self {
            now: clock::wall(now),
            since,
            program: program(),
            process: std::process::id(),
            threshold: Duration::from_nanos(hub.threshold),
            capture: hub.capture,
            verdict,
            runtimes,
            sites,
            environment: by_cause(environment),
            in_progress,
            recent,
            most_kept: hub.ring.most,
            suppressed: hub.suppressed.load(Relaxed),
        }
    }

    /// Stalls of the program's own doing, and their time.
    pub(super) fn own(&self) -> (u64, Duration) {
        total(self.sites.iter().map(|(_, tally)| tally))
    }

    /// Stalls that the environment caused, and their time.
    pub(super) fn outside(&self) -> (u64, Duration) {
        total(self.environment.iter().map(|(_, tally)| tally))
    }
}

impl Watched {
    fn look(runtime: &Runtime, now: Nanos) -> Self {
        let found = runtime.vitals.found();
        let beat = runtime.pulse.beat();
        let counts = !runtime.vitals.is_ignored();
        Self {
            name: runtime.name,
            workers: runtime.workers,
            stalled: runtime.gauges.stalled.load(Relaxed) as usize,
            saturated: runtime.gauges.saturated.load(Relaxed) as usize,
            heartbeat_age: (beat > 0).then(|| Duration::from_nanos(now.saturating_sub(beat))),
            frozen: Duration::from_nanos(found.frozen),
            dead: found.dead && counts,
            counts,
            lag: runtime.trend.points(now),
        }
    }
}

fn total<'a>(tallies: impl Iterator<Item = &'a Tally>) -> (u64, Duration) {
    tallies.fold((0, Duration::ZERO), |(stalls, time), tally| {
        (stalls + tally.stalls, time.saturating_add(tally.time))
    })
}

/// The environment has no sites.
fn by_cause(rows: Vec<(Key, Tally)>) -> Vec<(Cause, Tally)> {
    let mut causes: HashMap<Cause, Tally> = HashMap::new();
    for (key, tally) in rows {
        match causes.get_mut(&key.cause) {
            Some(known) => known.merge(&tally),
            None => drop(causes.insert(key.cause, tally)),
        }
    }
    let mut causes: Vec<_> = causes.into_iter().collect();
    causes.sort_by_key(|(cause, tally)| (std::cmp::Reverse(tally.time), cause.as_str()));
    causes
}

/// The name of the program's file.
fn program() -> String {
    let path = std::env::current_exe().ok();
    let name = path.as_deref().and_then(|path| path.file_name());
    name.map_or_else(|| "?".to_owned(), |name| name.to_string_lossy().into_owned())
}
