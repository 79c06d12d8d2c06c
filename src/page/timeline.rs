//! The last minutes as a picture: who blocked which worker when, and how late ticks were.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::report::Report;
use super::time::{ago, rough};
use crate::clock::{Nanos, seconds};
use crate::runtime::lag_history::{POINTS, STEP};
use crate::runtime::status::RuntimeSnapshot;
use crate::stall::Stall;
use crate::text::handler_title as handler;

const WIDTH: f64 = 960.0;
/// Where time begins: left of it are names.
const LEFT: f64 = 150.0;
const LANE: f64 = 20.0;
const LAGS: f64 = 72.0;
const AXIS: f64 = 24.0;
/// Workers of a runtime that have a lane of their own; further ones share the last.
const MOST_LANES: usize = 32;
/// The picture's time is the shortest of these that has all there is.
const SPANS: [u64; 4] = [60, 120, 300, POINTS as u64 * STEP / 1_000_000_000];

/// From times to places.
#[derive(Clone, Copy, Debug)]
struct Scale {
    now: SystemTime,
    span: Duration,
}

impl Scale {
    fn new(report: &Report) -> Self {
        let age = report.now.duration_since(report.since).unwrap_or_default();
        let span = SPANS.into_iter().map(Duration::from_secs).find(|span| age <= *span);
        Self { now: report.now, span: span.unwrap_or(Duration::from_secs(SPANS[3])) }
    }

    /// The place of what was that long ago.
    fn back(self, time: Duration) -> f64 {
        let part = (time.as_secs_f64() / self.span.as_secs_f64()).min(1.0);
        LEFT + (WIDTH - LEFT) * (1.0 - part)
    }

    fn at(self, time: SystemTime) -> f64 {
        self.back(self.now.duration_since(time).unwrap_or_default())
    }

    fn has(self, stall: &Stall) -> bool {
        self.now.duration_since(stall.started_at + stall.duration).unwrap_or_default() < self.span
    }
}

pub(super) fn section(report: &Report) -> Markup {
    let scale = Scale::new(report);
    let mut top = 0.0;
    let mut parts = Vec::new();
    for runtime in &report.runtimes {
        let (part, height) = runtime_part(report, runtime, scale, top);
        parts.push(part);
        top += height;
    }
    let height = top + AXIS;
    html! {
        section aria-labelledby="timeline" {
            h2 id="timeline" { "The last " (rough(scale.span)) }
            @if report.runtimes.is_empty() {
                p class="none" { "No runtime is watched." }
            } @else {
                figure {
                    div class="wide" id="timeline-picture" role="group" aria-label="Picture of the last minutes" tabindex="0" {
                        svg class="timeline" viewBox={ "0 0 " (WIDTH) " " (n(height)) } role="img"
                            aria-label="Stalls by worker, and the largest lag of ticks, over time" {
                            @for part in &parts { (part) }
                            (axis(scale, top))
                        }
                    }
                    figcaption {
                        span class="key own" {} " a handler blocks the worker "
                        span class="key outside" {} " the environment holds it up "
                        span class="key lag" {} " how late ticks were, largest in " (STEP / 1_000_000_000) " s"
                    }
                }
            }
        }
    }
}

/// The lanes of a runtime's workers, and its lags below.
fn runtime_part(
    report: &Report,
    runtime: &RuntimeSnapshot,
    scale: Scale,
    top: f64,
) -> (Markup, f64) {
    let all = || report.recent.iter().rev().chain(report.in_progress.iter().rev());
    let stalls: Vec<_> =
        all().filter(|stall| stall.runtime == runtime.name && scale.has(stall)).collect();
    let lanes = runtime.workers.min(MOST_LANES);
    // A root future has no worker, and a lane only if it is needed.
    let roots = stalls.iter().any(|stall| stall.worker.is_none());
    let rows = lanes + usize::from(roots);
    let lane = |stall: &Stall| stall.worker.map_or(lanes, |worker| worker.min(lanes.max(1) - 1));
    let y = |row: usize| top + row as f64 * LANE;
    let below = y(rows) + 6.0;
    let part = html! {
        g {
            @for row in 0..rows {
                text class="name" x="0" y=(n(y(row) + 14.0)) { (lane_name(runtime, row, lanes)) }
                rect class="lane" x=(LEFT) y=(n(y(row) + 3.0)) width=(WIDTH - LEFT) height=(LANE - 5.0) {}
            }
            @for stall in &stalls {
                (mark(report, stall, scale, y(lane(stall)) + 3.0))
            }
            (lags(runtime, report.threshold, scale, below))
        }
    };
    (part, rows as f64 * LANE + LAGS + 20.0)
}

fn lane_name(runtime: &RuntimeSnapshot, row: usize, lanes: usize) -> String {
    let short: String = crate::label::printable(runtime.name).chars().take(12).collect();
    match row {
        row if row == lanes => format!("{short} root"),
        row if row + 1 == lanes && runtime.workers > lanes => format!("{short} {row} and more"),
        row => format!("{short} worker {row}"),
    }
}

fn mark(report: &Report, stall: &Stall, scale: Scale, y: f64) -> Markup {
    let from = scale.at(stall.started_at);
    let until = if stall.in_progress { WIDTH } else { scale.at(stall.started_at + stall.duration) };
    let class = if stall.cause.is_environment() { "outside" } else { "own" };
    let width = (until - from).max(2.0);
    let title = format!(
        "Stall {}: {}, {} for {}, {}",
        stall.id,
        handler(&stall.handler),
        stall.cause,
        rough(stall.duration),
        ago(stall.started_at, report.now)
    );
    html! {
        rect class=(class) x=(n(from.min(WIDTH - width))) y=(n(y)) width=(n(width)) height=(LANE - 5.0) {
            title { (title) }
        }
    }
}

/// Bars on a logarithmic scale from 1 ms to 100 s.
fn lags(runtime: &RuntimeSnapshot, threshold: Duration, scale: Scale, top: f64) -> Markup {
    let bottom = top + LAGS;
    let height = |lag: f64| ((lag.max(1e-3).log10() + 3.0) / 5.0).min(1.0) * LAGS;
    let step = STEP as f64 / 1e9 / scale.span.as_secs_f64() * (WIDTH - LEFT);
    let points = runtime.lag.iter().rev().enumerate();
    let bars = points.filter_map(|(back, lag)| {
        let from = WIDTH - (back + 1) as f64 * step;
        (from >= LEFT - 0.01).then_some((from, seconds((*lag)?), (*lag)?))
    });
    let limit = Nanos::try_from(threshold.as_nanos()).unwrap_or(Nanos::MAX);
    html! {
        text class="name" x="0" y=(n(top + 14.0)) { "lag of ticks" }
        @for (at, name) in [(0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s")] {
            @let y = bottom - height(at);
            text class="tick" x=(LEFT - 6.0) y=(n(y + 4.0)) { (name) }
            line class="grid" x1=(LEFT) x2=(WIDTH) y1=(n(y)) y2=(n(y)) {}
        }
        @for (from, lag, nanos) in bars {
            @let tall = height(lag).max(1.0);
            rect class=(if nanos > limit { "lag late" } else { "lag" }) x=(n(from)) y=(n(bottom - tall))
                width=(n((step - 0.5).max(0.5))) height=(n(tall)) {
                title { (rough(Duration::from_nanos(nanos))) " late" }
            }
        }
        line class="base" x1=(LEFT) x2=(WIDTH) y1=(n(bottom)) y2=(n(bottom)) {}
    }
}

fn axis(scale: Scale, top: f64) -> Markup {
    let fifth = scale.span / 5;
    html! {
        @for back in (0..=5).rev() {
            @let x = scale.back(fifth * back);
            @let class = match back { 0 => "tick", 5 => "tick first", _ => "tick middle" };
            text class=(class) x=(n(x)) y=(n(top + 14.0)) {
                @if back == 0 { "now" } @else { "−" (rough(fifth * back)) }
            }
        }
    }
}

/// A place, to a tenth.
fn n(place: f64) -> String {
    format!("{place:.1}")
}
