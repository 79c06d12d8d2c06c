//! The last minutes as a picture: who blocked which worker when, and how late ticks were.

use std::time::{Duration, SystemTime};

use maud::{Markup, html};

use super::report::Report;
use super::tables;
use super::time::ago;
use crate::clock::{nanos, seconds};
use crate::runtime::lag_history::{POINTS, STEP};
use crate::runtime::status::RuntimeSnapshot;
use crate::stall::Stall;
use crate::text::{handler_title as handler, rough};

const WIDTH: f64 = 960.0;
/// Where time begins: left of it are names.
const LEFT: f64 = 150.0;
const LANE: f64 = 20.0;
const LAGS: f64 = 72.0;
const AXIS: f64 = 24.0;
/// Lanes of a runtime; further workers share the last.
const MOST_LANES: usize = 32;
/// Seconds that the picture may show: the shortest that reaches back to the start.
const SPANS: [u64; 4] = [60, 120, 300, POINTS as u64 * STEP / 1_000_000_000];

struct Picture<'a> {
    report: &'a Report,
    /// The time that it shows.
    span: Duration,
}

pub(super) fn section(report: &Report) -> Markup {
    let age = report.now.duration_since(report.since).unwrap_or_default();
    let span = SPANS.into_iter().map(Duration::from_secs).find(|span| age <= *span);
    let picture = Picture { report, span: span.unwrap_or(Duration::from_secs(SPANS[3])) };
    let mut height = 0.0;
    let parts = report.runtimes.iter().map(|runtime| {
        let top = height;
        let (part, its_height) = picture.runtime(runtime);
        height += its_height;
        html! { g transform={ "translate(0 " (n(top)) ")" } { (part) } }
    });
    let parts: Vec<_> = parts.collect();
    let svg = html! {
        svg class="timeline" viewBox={ "0 0 " (WIDTH) " " (n(height + AXIS)) } role="img"
            aria-label="Stalls by worker, and the largest lag of ticks, over time" {
            @for part in &parts { (part) }
            (picture.axis(height))
        }
    };
    let body = html! {
        figure {
            (tables::wide("timeline-picture", "Picture of the last minutes", &svg))
            figcaption {
                span class="key own" {} " a handler blocks the worker "
                span class="key outside" {} " the environment holds it up "
                span class="key lag" {} " how late ticks were, largest in " (STEP / 1_000_000_000) " s"
            }
        }
    };
    let none = report.runtimes.is_empty().then_some("No runtime is watched.");
    tables::section("timeline", &format!("The last {}", rough(picture.span)), none, &body)
}

impl Picture<'_> {
    /// The horizontal position of a moment.
    fn x(&self, time: SystemTime) -> f64 {
        self.x_ago(self.report.now.duration_since(time).unwrap_or_default())
    }

    fn x_ago(&self, time: Duration) -> f64 {
        let part = (time.as_secs_f64() / self.span.as_secs_f64()).min(1.0);
        LEFT + (WIDTH - LEFT) * (1.0 - part)
    }

    /// The lanes of a runtime's workers with its lags below, and the height of both.
    fn runtime(&self, runtime: &RuntimeSnapshot) -> (Markup, f64) {
        let Report { recent, in_progress, .. } = self.report;
        let is_shown = |stall: &&Stall| {
            stall.runtime == runtime.name && self.x(stall.started_at + stall.duration) > LEFT
        };
        let stalls = recent.iter().rev().chain(in_progress.iter().rev()).filter(is_shown);
        let stalls: Vec<_> = stalls.collect();
        let lanes = runtime.workers.min(MOST_LANES);
        // A root future has no worker, and a lane only if it is needed.
        let roots = stalls.iter().any(|stall| stall.worker.is_none());
        let rows = lanes + usize::from(roots);
        let lane =
            |stall: &Stall| stall.worker.map_or(lanes, |worker| worker.min(lanes.max(1) - 1));
        let y = |row: usize| row as f64 * LANE;
        let part = html! {
            @for row in 0..rows {
                text class="name" x="0" y=(n(y(row) + 14.0)) { (lane_name(runtime, row, lanes)) }
                rect class="lane" x=(LEFT) y=(n(y(row) + 3.0)) width=(WIDTH - LEFT) height=(LANE - 5.0) {}
            }
            @for stall in stalls { (self.mark(stall, y(lane(stall)) + 3.0)) }
            (self.lags(runtime, y(rows) + 6.0))
        };
        (part, y(rows) + LAGS + 20.0)
    }

    fn mark(&self, stall: &Stall, y: f64) -> Markup {
        let from = self.x(stall.started_at);
        let until =
            if stall.in_progress { WIDTH } else { self.x(stall.started_at + stall.duration) };
        let class = if stall.cause.is_environment() { "outside" } else { "own" };
        let width = (until - from).max(2.0);
        let (who, time) = (handler(&stall.handler), rough(stall.duration));
        let when = ago(stall.started_at, self.report.now);
        html! {
            rect class=(class) x=(n(from.min(WIDTH - width))) y=(n(y)) width=(n(width)) height=(LANE - 5.0) {
                title { "Stall " (stall.id) ": " (who) ", " (stall.cause) " for " (time) ", " (when) }
            }
        }
    }

    /// Bars on a logarithmic scale from 1 ms to 100 s.
    fn lags(&self, runtime: &RuntimeSnapshot, top: f64) -> Markup {
        let bottom = top + LAGS;
        let height = |lag: f64| ((lag.max(1e-3).log10() + 3.0) / 5.0).min(1.0) * LAGS;
        let step = seconds(STEP) / self.span.as_secs_f64() * (WIDTH - LEFT);
        let points = runtime.lag.iter().rev().enumerate();
        let bars = points.filter_map(|(back, lag)| {
            let from = WIDTH - (back + 1) as f64 * step;
            (from >= LEFT - 0.01).then_some((from, (*lag)?))
        });
        let limit = nanos(self.report.threshold);
        html! {
            text class="name" x="0" y=(n(top + 14.0)) { "lag of ticks" }
            @for (at, name) in [(0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s")] {
                @let y = bottom - height(at);
                text class="tick" x=(LEFT - 6.0) y=(n(y + 4.0)) { (name) }
                line class="grid" x1=(LEFT) x2=(WIDTH) y1=(n(y)) y2=(n(y)) {}
            }
            @for (from, late) in bars {
                @let tall = height(seconds(late)).max(1.0);
                rect class=(if late > limit { "lag late" } else { "lag" }) x=(n(from)) y=(n(bottom - tall))
                    width=(n((step - 0.5).max(0.5))) height=(n(tall)) {
                    title { (rough(Duration::from_nanos(late))) " late" }
                }
            }
            line class="base" x1=(LEFT) x2=(WIDTH) y1=(n(bottom)) y2=(n(bottom)) {}
        }
    }

    fn axis(&self, top: f64) -> Markup {
        let fifth = self.span / 5;
        html! {
            @for back in (0..=5).rev() {
                @let class = match back { 0 => "tick", 5 => "tick first", _ => "tick middle" };
                text class=(class) x=(n(self.x_ago(fifth * back))) y=(n(top + 14.0)) {
                    @if back == 0 { "now" } @else { "−" (rough(fifth * back)) }
                }
            }
        }
    }
}

fn lane_name(runtime: &RuntimeSnapshot, row: usize, lanes: usize) -> String {
    let short: String = crate::label::printable(runtime.name).chars().take(12).collect();
    match row {
        row if row == lanes => format!("{short} root"),
        row if row + 1 == lanes && runtime.workers > lanes => format!("{short} {row} and more"),
        row => format!("{short} worker {row}"),
    }
}

/// A coordinate, to a tenth.
fn n(place: f64) -> String {
    format!("{place:.1}")
}
