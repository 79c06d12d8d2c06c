//! The parts of the page that are text.

use std::time::SystemTime;

use maud::{Markup, Render, html};

use super::chain::chain;
use super::report::{Report, Total};
use super::source::SourceLines;
use super::stack::{search_for, short};
use super::time::{ago, share, stamp};
use crate::clock::human;
use crate::label::printable;
use crate::stall::{Frame, LaterSample, Site, Stack, Stall};
use crate::text::{
    handler_title as handler, rough, share as workers_stalled, stack_missing, waited, whom,
};

/// What the number of requests that waited is.
const UPPER_BOUND: &str =
    "Other requests on the same runtime meanwhile: no more than these have waited";
/// Rows of sites that are shown at once.
const MOST_SITES: usize = 20;

/// A part of the page. Shows `none` in place of `body` if there is one.
pub(super) fn section(id: &str, title: &str, none: Option<&str>, body: &Markup) -> Markup {
    html! {
        section aria-labelledby=(id) {
            h2 id=(id) { (title) }
            @if let Some(none) = none { p class="none" { (none) } } @else { (body) }
        }
    }
}

/// What scrolls sideways where the window is too narrow for it.
pub(super) fn wide(id: &str, label: &str, content: &Markup) -> Markup {
    html! { div class="wide" id=(id) role="group" aria-label=(label) tabindex="0" { (content) } }
}

fn table(caption: &str, head: &Markup, rows: &Markup) -> Markup {
    html! {
        table { caption { (caption) } thead { tr { (head) } } tbody { (rows) } }
    }
}

/// The head of a column of text.
fn text(name: &str) -> Markup {
    html! { th scope="col" { (name) } }
}

/// The head of a column of numbers.
fn number(name: impl Render) -> Markup {
    html! { th scope="col" class="number" { (name) } }
}

/// The section of stalls in progress around its rows.
pub(super) fn in_progress(report: &Report, rows: &Markup) -> Markup {
    let none = report.in_progress.is_empty().then_some("Nothing blocks a worker now.");
    let head = html! {
        (text("Handler")) (number("For")) (text("Cause")) (text("Where")) (text("Runtime"))
        (number(html! { abbr title=(UPPER_BOUND) { "Waited, up to" } }))
    };
    let table = table("Stalls that still last, newest first", &head, rows);
    section("now", "In progress", none, &wide("now-table", "Table of stalls in progress", &table))
}

pub(super) fn in_progress_row(stall: &Stall, lines: &SourceLines) -> Markup {
    html! {
        tr {
            th scope="row" class="who" { a href={ "/stalls/" (stall.id) } { (handler(&stall.handler)) } }
            td class="number" { strong { (rough(stall.duration)) } }
            td class="cause" { (why(stall)) }
            td class="place" {
                (place_of(stall, lines))
                @if let Some(last) = stall.later.last() {
                    p { "after " (rough(last.after)) ": " (later(last)) " " (place(last.site.as_ref(), lines)) }
                }
                @if let Some(held_by) = stall.last_held_by() {
                    p class="fix" { (printable(&held_by.to_string())) }
                }
            }
            td class="word" { (stall.runtime) ", " (whom(stall)) }
            td class="number" { (stall.delayed_requests) }
        }
    }
}

pub(super) fn sites(report: &Report, lines: &SourceLines) -> Markup {
    let none = report.sites.is_empty().then_some("No stall since the start.");
    let Total { stalls, time } = report.own;
    let head = html! {
        (text("Where")) (text("Handler")) (text("Cause")) (number("Time")) (number("Share"))
        (number("Stalls")) (number("Longest")) (text("Last seen"))
        (number(html! { abbr title=(UPPER_BOUND) { "Waited, up to" } }))
    };
    let rows = html! {
        @for (key, totals) in report.sites.iter().take(MOST_SITES) {
            tr {
                th scope="row" class="place" { (place(key.site.as_ref(), lines)) p class="fix" { (totals.fix) (in_flame_graph(key.site.as_ref())) } }
                td class="who" { (handler(key.handler)) }
                td class="word" { (key.cause) }
                td class="number" { strong { (rough(totals.time)) } }
                td class="number" { (bar(share(totals.time, time))) }
                td class="number" { (totals.stalls) }
                td class="number" { (rough(totals.longest)) }
                td class="word" { @if totals.in_progress > 0 { strong { "lasts" } } @else { (moment(totals.last_seen, report.now)) } }
                td class="number" { (totals.delayed_requests) }
            }
        }
    };
    let noun = if stalls == 1 { "stall" } else { "stalls" };
    let caption =
        format!("{stalls} {noun} held workers for {} in all; the most time first", rough(time));
    let body = html! {
        (wide("sites-table", "Table of sites", &table(&caption, &head, &rows)))
        @if report.sites.len() > MOST_SITES {
            p { (report.sites.len() - MOST_SITES) " more are in " a href="/stalls.json" { "stalls.json" } "." }
        }
    };
    section("sites", "Where the time goes", none, &body)
}

/// Stands beside the sites, so that a reader can compare both.
pub(super) fn environment(report: &Report) -> Markup {
    let none = "No thread was kept from running for longer than the threshold.";
    let none = report.environment.is_empty().then_some(none);
    let head = html! { (text("Cause")) (number("Time")) (number("Times")) (text("Last seen")) };
    let rows = html! {
        @for (key, totals) in &report.environment {
            tr {
                th scope="row" { (key.cause) p class="fix" { (totals.fix) } }
                td class="number" { (rough(totals.time)) }
                td class="number" { (totals.stalls) }
                td class="word" { (moment(totals.last_seen, report.now)) }
            }
        }
    };
    let body = html! {
        p {
            "For " strong { (rough(report.outside.time)) }
            " threads could not run, for reasons outside the program; handlers blocked for "
            strong { (rough(report.own.time)) } "."
        }
        div class="environment" { (table("Time lost to the environment", &head, &rows)) }
    };
    section("environment", "The pod, not a handler", none, &body)
}

pub(super) fn runtimes(report: &Report) -> Markup {
    let none = report.runtimes.is_empty().then_some("None is watched.");
    let saturated = "Not seen to come round, with no stall proven: busy or blocked";
    let head = html! {
        (text("Runtime")) (number("Workers")) (number("Stalled"))
        (number(html! { abbr title=(saturated) { "Saturated" } })) (text("Last tick")) (text("Frozen"))
    };
    let rows = html! {
        @for runtime in &report.runtimes {
            tr {
                th scope="row" { (runtime.name) }
                td class="number" { (runtime.workers) }
                td class="number" { (runtime.stalled) }
                td class="number" { (runtime.saturated) }
                td { @match runtime.heartbeat_age {
                    Some(age) => { (rough(age)) " ago" },
                    None => "none: not driven",
                } }
                td {
                    @if runtime.dead { "dead, for " (rough(runtime.frozen)) }
                    @else if runtime.frozen.as_millis() == 0 { "no" }
                    @else { "for " (rough(runtime.frozen)) }
                    @if !runtime.counts { " (does not count for health)" }
                }
            }
        }
    };
    let table = table("Watched runtimes as they are now", &head, &rows);
    section("runtimes", "Runtimes", none, &wide("runtimes-table", "Table of runtimes", &table))
}

/// The section of stalls that are over around its rows.
pub(super) fn recent(report: &Report, rows: &Markup) -> Markup {
    let none = report.recent.is_empty().then_some("None has ended yet.");
    let body = html! {
        p class="none" { (report.recent.len()) " that are over, newest first." }
        (rows)
    };
    section("recent", "Recent stalls", none, &body)
}

pub(super) fn recent_row(report: &Report, stall: &Stall, lines: &SourceLines) -> Markup {
    html! {
        details id={ "stall-" (stall.id) } {
            summary {
                span class="id" { (stall.id) }
                span class="who" { (handler(&stall.handler)) }
                span class="time" { (rough(stall.duration)) }
                span class="why" { (stall.cause) }
                span class="when" { (moment(stall.started_at, report.now)) }
            }
            (facts(report, stall, lines))
            @match (&stall.awaits, &stall.stack) {
                (Some(awaits), _) => (chain(stall, awaits)),
                (None, Some(stack)) => (own_frames(stack)),
                (None, None) => (no_stack(stall)),
            }
            p {
                a href={ "/stalls/" (stall.id) } { "Stall " (stall.id) " with its whole stack" }
                (as_markdown(stall))
            }
        }
    }
}

/// The report of a stall for elsewhere. The script shows the button.
pub(super) fn as_markdown(stall: &Stall) -> Markup {
    let from = format!("/stalls/{}.md", stall.id);
    html! {
        " · " a href=(from) { "as Markdown" }
        " " button type="button" class="copy" data-from=(from) hidden { "Copy" }
    }
}

/// A link to the part of the flame graph that has this site.
fn in_flame_graph(site: Option<&Site>) -> Markup {
    let function = site.filter(|_| cfg!(feature = "flamegraph")).map(|site| &site.function);
    html! {
        @if let Some(function) = function {
            " · " a href={ "/flamegraph.svg?s=" (search_for(function)) } { "in the flame graph" }
        }
    }
}

/// What is known of one stall, except its stack.
pub(super) fn facts(report: &Report, stall: &Stall, lines: &SourceLines) -> Markup {
    html! {
        dl {
            dt { "Blocked" }
            dd {
                (whom(stall)) " of runtime " (stall.runtime) " for " (human(stall.duration))
                @if stall.in_progress { " so far" }
            }
            dt { "Cause" } dd { (why(stall)) }
            dt { "Where" } dd { (place_of(stall, lines)) }
            @if let Some(held_by) = &stall.held_by {
                dt { "Holder" } dd { (printable(&held_by.to_string())) }
            }
            dt { "Fix" } dd { strong { (stall.fix) } }
            @for sample in &stall.later {
                dt { "After " (rough(sample.after)) }
                dd {
                    (later(sample)) ", " (place(sample.site.as_ref(), lines))
                    @if let Some(held_by) = &sample.held_by {
                        p class="fix" { (printable(&held_by.to_string())) }
                    }
                    p { strong { (sample.fix) } }
                }
            }
            dt { "Began" } dd { (stamp(stall.started_at)) ", " (ago(stall.started_at, report.now)) }
            dt { "Around it" }
            dd {
                (workers_stalled(stall.workers_stalled, stall.workers)) "; requests: "
                (stall.requests_in_flight) " in flight, " (waited(stall.delayed_requests))
            }
            @if let Some(trace) = stall.trace_id {
                dt { "Trace" } dd { code { (format!("{trace:032x}")) } }
            }
        }
    }
}

/// The user's own frames, and how many others lie between them.
fn own_frames(stack: &Stack) -> Markup {
    html! {
        ol class="stack" aria-label="Stack, innermost frame first" {
            @for frames in stack.of_poll().chunk_by(|one, next| !one.own && !next.own) {
                @match frames {
                    [own] if own.own => li { (frame(own)) },
                    others => li class="others" { (of_libraries(others.len())) },
                }
            }
        }
    }
}

/// The stack of a stall with all frames.
pub(super) fn whole_stack(stall: &Stall) -> Markup {
    html! {
        @if let Some(stack) = &stall.stack {
            h3 { "Stack, innermost frame first" }
            (all_frames(stack))
            p class="none" {
                "Thread " (stack.thread)
                @if stack.by_signal { ", stopped by a signal for a moment" } @else { ", looked at from outside" }
                "."
            }
            @if let Some(why) = &stall.stack_missing { p { "Not whole: " (why) "." } }
        } @else { (no_stack(stall)) }
        @for (index, sample) in stall.later.iter().enumerate() {
            h3 { "Stack after " (rough(sample.after)) }
            @match &sample.stack {
                Some(stack) => details id={ "later-" (index) } class="more" open[index + 1 == stall.later.len()] {
                    summary { (later(sample)) ": " (stack.frames.len()) " frames" }
                    (all_frames(stack))
                },
                None => p { "No stack: " (sample.stack_missing.as_deref().unwrap_or("it could not be taken")) "." },
            }
        }
    }
}

pub(super) fn all_frames(stack: &Stack) -> Markup {
    html! {
        ol class="stack whole" {
            @for shown in &stack.frames {
                li class=[(!shown.own).then_some("library")] { (frame(shown)) }
            }
            @if stack.partial { li class="others" { "outer frames are missing" } }
        }
    }
}

/// Says how many frames of others are left out.
pub(super) fn of_libraries(frames: usize) -> String {
    format!("{frames} frame{} of libraries", if frames == 1 { "" } else { "s" })
}

fn no_stack(stall: &Stall) -> Markup {
    html! { p { "No stack: " (stack_missing(stall)) "." } }
}

pub(super) fn frame(frame: &Frame) -> Markup {
    let Frame { file, line, .. } = short(frame);
    let name = Frame { file: None, ..frame.clone() }.to_string();
    html! {
        code { (printable(&name)) }
        @if let Some(file) = file {
            " " span class="file" { (printable(&file)) @if let Some(line) = line { ":" (line) } }
        }
        @if frame.inlined { " " small { "inlined" } }
    }
}

/// Where a stall is, or where the last one of the same kind was.
fn place_of(stall: &Stall, lines: &SourceLines) -> Markup {
    match (&stall.site, &stall.last_seen) {
        (None, last @ Some(_)) => html! {
            span class="none" { "not known; last seen at " } (place(last.as_ref(), lines))
        },
        (site, _) => place(site.as_ref(), lines),
    }
}

fn place(site: Option<&Site>, lines: &SourceLines) -> Markup {
    let Some(site) = site else { return html! { span class="none" { "not known" } } };
    html! {
        code class="function" { (printable(&site.function)) }
        @if let Some(file) = &site.file {
            " " span class="file" { (printable(file)) @if let Some(line) = site.line { ":" (line) } }
        }
        @if let Some(line) = lines.line(site) { code class="source" { (line) } }
    }
}

/// What a stall did later.
fn later(sample: &LaterSample) -> String {
    printable(&crate::text::why_later(sample)).into_owned()
}

fn why(stall: &Stall) -> String {
    printable(&crate::text::why(stall)).into_owned()
}

fn moment(then: SystemTime, now: SystemTime) -> Markup {
    html! { time datetime=(stamp(then)) { (ago(then, now)) } }
}

/// A share, as a number and as a bar.
fn bar(percent: f64) -> Markup {
    let width = format!("{percent:.1}");
    html! {
        (format!("{percent:.0} %"))
        svg class="bar" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true" {
            rect class="rest" width="100" height="6" {}
            rect class="part" width=(width) height="6" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn frames_of_libraries_are_counted() {
        let frame = |function: &str| {
            let own = function.starts_with("app::");
            Arc::new(Frame { function: Some(function.to_owned()), own, ..Frame::default() })
        };
        let functions =
            ["nanosleep", "std::sleep", "app::load", "app::hello", "axum::call", "app::a"];
        let stack = Stack { frames: functions.map(frame).to_vec(), ..Stack::default() };
        let lines = own_frames(&stack).into_string();
        let lines: Vec<_> = lines.split("<li").skip(1).collect();
        let expected =
            ["2 frames of libraries", "app::load", "app::hello", "1 frame of libraries", "app::a"];
        assert_eq!(lines.len(), expected.len(), "{lines:?}");
        for (line, expected) in lines.iter().zip(expected) {
            assert!(line.contains(expected), "{expected} in {line}");
        }
    }
}
