//! `/stalls.json`: `docs/stalls.schema.json` describes it, `docs/page.md` says what may change.

use std::sync::Arc;
use std::time::Duration;

use serde_core::{Serialize, Serializer};
use serde_json::{Value, json};

use super::frames::{FrameTable, Module, NumberedFrame};
use super::parts::{Parts, chain, each, part, whole};
use super::report::{Report, Row};
use super::source::SourceLines;
use super::time::{share, stamp};
use crate::clock::seconds;
use crate::runtime::lag_history::STEP;
use crate::runtime::status::RuntimeSnapshot;
use crate::stall::{Frame, Stall, WithFrames};
use crate::text;

/// Changes when a field is removed or changes its meaning, not when one is added.
const VERSION: u32 = 1;

struct Document {
    report: Report,
    lines: SourceLines,
    table: FrameTable,
}

/// The frames of one stack, by number.
struct Numbers<'a> {
    table: &'a FrameTable,
    frames: &'a [Arc<Frame>],
}

pub(super) fn document(report: Report, lines: SourceLines) -> Parts {
    let table = FrameTable::of(report.stalls());
    let data = Arc::new(Document { report, lines, table });
    chain([
        part(&data, |data| begin(&data.report, &data.lines)),
        list(
            "sites",
            each(&data, |data| &data.report.sites, |data, of| row(of, data.report.own.time)),
        ),
        list(
            "environment",
            each(
                &data,
                |data| &data.report.environment,
                |data, of| row(of, data.report.outside.time),
            ),
        ),
        list("modules", each(&data, |data| &data.table.modules, |_, of| module(of))),
        list("frames", each(&data, |data| &data.table.frames, |_, of| frame(of))),
        list("in_progress", each(&data, |data| &data.report.in_progress, stall)),
        list("recent", each(&data, |data| &data.report.recent, stall)),
        whole("}"),
    ])
}

/// The fields before the lists; no brace closes it.
fn begin(report: &Report, lines: &SourceLines) -> String {
    let (own, outside) = (report.own, report.outside);
    let advice = report.verdict.advice.as_ref();
    let mut begin = json!({
        "version": VERSION,
        "tower_stall": env!("CARGO_PKG_VERSION"),
        "generated_at": stamp(report.now),
        "since": stamp(report.since),
        "program": report.program,
        "process": report.process,
        "threshold_seconds": report.threshold.as_secs_f64(),
        "capture": report.capture,
        "stacks": report.stack_detail.map(|detail| json!({
            "show": detail.as_str(),
            "sentence": text::stacks(detail),
        })),
        "verdict": {
            "state": report.verdict.state,
            "sentence": report.verdict.sentence,
            "about": advice.map(|advice| &advice.about),
            "fix": advice.map(|advice| &advice.fix),
        },
        "faults": report.faults.iter().map(|fault| json!({
            "thread": fault.thread.as_str(),
            "panics": fault.panics,
            "sentence": text::thread(*fault),
        })).collect::<Vec<_>>(),
        "notices": report.notices,
        "runtimes": report.runtimes.iter().map(runtime).collect::<Vec<_>>(),
        "totals": {
            "stalls": own.stalls,
            "stalled_seconds": own.time.as_secs_f64(),
            "environment_stalls": outside.stalls,
            "environment_seconds": outside.time.as_secs_f64(),
            "most_recent_kept": report.most_kept,
            "reports_suppressed": report.suppressed,
        },
        "sources": lines.by_file(),
    })
    .to_string();
    begin.truncate(begin.len() - "}".len());
    begin
}

/// A field after others: a list of these values.
fn list(name: &str, values: Parts) -> Parts {
    let values = values.enumerate().map(|(at, mut value)| {
        if at > 0 {
            value.insert(0, b',');
        }
        value
    });
    chain([whole(format!(",\"{name}\":[")), Box::new(values), whole("]")])
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

fn row((key, totals): &Row, whole: Duration) -> String {
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
    .to_string()
}

fn module(module: &Module) -> String {
    json!({ "name": module.name.as_deref(), "build_id": module.build_id.as_deref() }).to_string()
}

fn frame(NumberedFrame { frame, module }: &NumberedFrame) -> String {
    json!({
        "function": frame.function,
        "file": frame.file,
        "line": frame.line,
        "module": module,
        "offset": frame.offset,
        "inlined": frame.inlined,
        "own": frame.own,
        "guessed": frame.guessed,
    })
    .to_string()
}

fn stall(data: &Document, stall: &Stall) -> String {
    let frames = |frames| Numbers { table: &data.table, frames };
    json!(WithFrames { stall, frames }).to_string()
}

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.table.numbers(self.frames))
    }
}
