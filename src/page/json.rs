//! `/stalls.json`: `docs/stalls.schema.json` describes it, `docs/page.md` says what may change.

use std::time::Duration;

use serde_json::{Value, json};

use super::report::Report;
use super::source::Sources;
use super::time::{share, stamp};
use crate::clock::{Nanos, seconds};
use crate::runtime::lag_history::STEP;
use crate::runtime::status::RuntimeSnapshot;
use crate::stall::{Cause, Frame, Site, Stack, Stall};
use crate::stall::{SiteKey, SiteTotals};

/// Moves when something is taken away or means something else; not when something is added.
const VERSION: u32 = 1;

pub(super) fn document(report: &Report, sources: &mut Sources) -> Value {
    let (own, outside) = (report.own(), report.outside());
    let advice = report.verdict.advice.as_ref();
    let sites: Vec<_> =
        report.sites.iter().map(|(key, totals)| row(key, totals, own.1, sources)).collect();
    let environment: Vec<_> = report.environment.iter().map(environment).collect();
    let in_progress: Vec<_> = report.in_progress.iter().map(|each| stall(each, sources)).collect();
    let recent: Vec<_> = report.recent.iter().map(|each| stall(each, sources)).collect();
    json!({
        "version": VERSION,
        "tower_stall": env!("CARGO_PKG_VERSION"),
        "generated_at": stamp(report.now),
        "since": stamp(report.since),
        "program": report.program,
        "process": report.process,
        "threshold_seconds": secs(report.threshold),
        "capture": report.capture,
        "verdict": {
            "state": report.verdict.state.as_str(),
            "sentence": report.verdict.sentence,
            "about": advice.map(|advice| &advice.about),
            "fix": advice.map(|advice| &advice.fix),
        },
        "runtimes": report.runtimes.iter().map(runtime).collect::<Vec<_>>(),
        "totals": {
            "stalls": own.0,
            "stalled_seconds": secs(own.1),
            "environment_stalls": outside.0,
            "environment_seconds": secs(outside.1),
            "most_recent_kept": report.most_kept,
            "reports_suppressed": report.suppressed,
        },
        "sites": sites,
        "environment": environment,
        "in_progress": in_progress,
        "recent": recent,
    })
}

fn runtime(runtime: &RuntimeSnapshot) -> Value {
    let lag = |lag: &Option<Nanos>| lag.map(seconds);
    json!({
        "name": runtime.name,
        "workers": runtime.workers,
        "workers_stalled": runtime.stalled,
        "workers_saturated": runtime.saturated,
        "heartbeat_age_seconds": runtime.heartbeat_age.map(secs),
        "frozen_seconds": secs(runtime.frozen),
        "dead": runtime.dead,
        "counts_for_health": runtime.counts,
        "lag": {
            "step_seconds": seconds(STEP),
            "largest_seconds": runtime.lag.iter().map(lag).collect::<Vec<_>>(),
        },
    })
}

fn row(key: &SiteKey, totals: &SiteTotals, whole: Duration, sources: &mut Sources) -> Value {
    json!({
        "handler": key.handler,
        "cause": key.cause.as_str(),
        "site": key.site.as_ref().map(|at| site(at, sources)),
        "stalls": totals.stalls,
        "in_progress": totals.in_progress,
        "seconds": secs(totals.time),
        "share_percent": share(totals.time, whole),
        "longest_seconds": secs(totals.longest),
        "last_seen": stamp(totals.last_seen),
        "last_stall": totals.last,
        "delayed_requests": totals.delayed_requests,
        "fix": totals.fix,
    })
}

fn environment((cause, totals): &(Cause, SiteTotals)) -> Value {
    json!({
        "cause": cause.as_str(),
        "stalls": totals.stalls,
        "in_progress": totals.in_progress,
        "seconds": secs(totals.time),
        "longest_seconds": secs(totals.longest),
        "last_seen": stamp(totals.last_seen),
        "last_stall": totals.last,
    })
}

fn stall(stall: &Stall, sources: &mut Sources) -> Value {
    json!({
        "id": stall.id,
        "runtime": stall.runtime,
        "worker": stall.worker,
        "handler": stall.handler,
        "cause": stall.cause.as_str(),
        "detail": stall.detail,
        "fix": stall.fix,
        "site": stall.site.as_ref().map(|at| site(at, sources)),
        "started_at": stamp(stall.started_at),
        "seconds": secs(stall.duration),
        "in_progress": stall.in_progress,
        "workers": stall.workers,
        "workers_stalled": stall.workers_stalled,
        "requests_in_flight": stall.requests_in_flight,
        "requests_in_flight_at_end": stall.requests_in_flight_at_end,
        "delayed_requests": stall.delayed_requests,
        "trace_id": stall.trace_id.map(|id| format!("{id:032x}")),
        "stack": stall.stack.as_deref().map(stack),
        "stack_missing": stall.stack_missing,
        "site_missing": stall.site_missing,
        "is_complete": stall.is_complete(),
    })
}

fn site(site: &Site, sources: &mut Sources) -> Value {
    json!({
        "function": site.function,
        "file": site.file,
        "line": site.line,
        "source": sources.line(site),
    })
}

fn stack(stack: &Stack) -> Value {
    json!({
        "thread": stack.thread,
        "by_signal": stack.by_signal,
        "partial": stack.partial,
        "frames": stack.frames.iter().map(frame).collect::<Vec<_>>(),
    })
}

fn frame(frame: &Frame) -> Value {
    json!({
        "function": frame.function,
        "file": frame.file,
        "line": frame.line,
        "module": frame.module,
        "offset": frame.offset,
        "build_id": frame.build_id,
        "inlined": frame.inlined,
        "own": frame.own,
    })
}

fn secs(time: Duration) -> f64 {
    time.as_secs_f64()
}
