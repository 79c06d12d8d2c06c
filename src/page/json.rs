//! `/stalls.json`: `docs/stalls.schema.json` describes it, `docs/page.md` says what may change.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::report::Report;
use super::source::Sources;
use super::time::{share, stamp};
use crate::clock::seconds;
use crate::runtime::lag_history::STEP;
use crate::runtime::status::RuntimeSnapshot;
use crate::stall::{SiteKey, SiteTotals};

/// Changes when a field is removed or changes its meaning, not when one is added.
const VERSION: u32 = 1;

pub(super) fn document(report: &Report, sources: &mut Sources) -> Value {
    let (own, outside) = (report.own, report.outside);
    let advice = report.verdict.advice.as_ref();
    json!({
        "version": VERSION,
        "tower_stall": env!("CARGO_PKG_VERSION"),
        "generated_at": stamp(report.now),
        "since": stamp(report.since),
        "program": report.program,
        "process": report.process,
        "threshold_seconds": report.threshold.as_secs_f64(),
        "capture": report.capture,
        "verdict": {
            "state": report.verdict.state,
            "sentence": report.verdict.sentence,
            "about": advice.map(|advice| &advice.about),
            "fix": advice.map(|advice| &advice.fix),
        },
        "runtimes": report.runtimes.iter().map(runtime).collect::<Vec<_>>(),
        "totals": {
            "stalls": own.stalls,
            "stalled_seconds": own.time.as_secs_f64(),
            "environment_stalls": outside.stalls,
            "environment_seconds": outside.time.as_secs_f64(),
            "most_recent_kept": report.most_kept,
            "reports_suppressed": report.suppressed,
        },
        "sites": rows(&report.sites, own.time),
        "environment": rows(&report.environment, outside.time),
        "in_progress": report.in_progress,
        "recent": report.recent,
        "sources": source_lines(report, sources),
    })
}

fn runtime(runtime: &RuntimeSnapshot) -> Value {
    json!({
        "name": runtime.name,
        "workers": runtime.workers,
        "workers_stalled": runtime.stalled,
        "workers_saturated": runtime.saturated,
        "heartbeat_age_seconds": runtime.heartbeat_age.map(|age| age.as_secs_f64()),
        "frozen_seconds": runtime.frozen.as_secs_f64(),
        "dead": runtime.dead,
        "counts_for_health": runtime.counts,
        "lag": {
            "step_seconds": seconds(STEP),
            "largest_seconds": runtime.lag.iter().map(|lag| lag.map(seconds)).collect::<Vec<_>>(),
        },
    })
}

fn rows(rows: &[(SiteKey, SiteTotals)], whole: Duration) -> Vec<Value> {
    let row = |(key, totals): &(SiteKey, SiteTotals)| {
        json!({
            "handler": key.handler,
            "cause": key.cause,
            "site": key.site,
            "stalls": totals.stalls,
            "in_progress": totals.in_progress,
            "seconds": totals.time.as_secs_f64(),
            "share_percent": share(totals.time, whole),
            "longest_seconds": totals.longest.as_secs_f64(),
            "last_seen": stamp(totals.last_seen),
            "last_stall": totals.last,
            "delayed_requests": totals.delayed_requests,
            "fix": totals.fix,
        })
    };
    rows.iter().map(row).collect()
}

/// The lines of source that sites name, by file and line.
fn source_lines<'a>(
    report: &'a Report,
    sources: &mut Sources,
) -> BTreeMap<&'a str, BTreeMap<u32, String>> {
    let of_rows = report.sites.iter().map(|(key, _)| &key.site);
    let of_stalls = report.in_progress.iter().chain(&report.recent).map(|stall| &stall.site);
    let mut lines: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for site in of_rows.chain(of_stalls).flatten() {
        if let (Some(file), Some(number), Some(line)) =
            (site.file.as_deref(), site.line, sources.line(site))
        {
            lines.entry(file).or_default().insert(number, line);
        }
    }
    lines
}
