//! The parts of the page that are text.

use std::time::SystemTime;

use maud::{Markup, html};

use super::report::Report;
use super::source::Sources;
use super::stack::{Line, folded, inside};
use super::time::{ago, rough, share, stamp};
use crate::label::printable;
use crate::stall::{Frame, Site, Stack, Stall};
use crate::text;
use crate::text::handler_title as handler;

/// Rows of sites that are shown at once.
const MOST_SITES: usize = 20;

pub(super) fn in_progress(report: &Report, sources: &mut Sources) -> Markup {
    html! {
        section aria-labelledby="now" {
            h2 id="now" { "In progress" }
            @if report.in_progress.is_empty() {
                p class="none" { "Nothing blocks a worker now." }
            } @else {
                div class="wide" id="now-table" role="group" aria-label="Table of stalls in progress" tabindex="0" {
                    table {
                        caption { "Stalls that still last, newest first" }
                        thead {
                            tr {
                                th scope="col" { "Handler" }
                                th scope="col" class="number" { "For" }
                                th scope="col" { "Cause" }
                                th scope="col" { "Where" }
                                th scope="col" { "Runtime" }
                                th scope="col" class="number" { "Held up" }
                            }
                        }
                        tbody {
                            @for stall in &report.in_progress {
                                tr {
                                    th scope="row" class="who" { a href={ "/stalls/" (stall.id) } { (handler(&stall.handler)) } }
                                    td class="number" { strong { (rough(stall.duration)) } }
                                    td { (why(stall)) }
                                    td class="place" { (place(stall.site.as_ref(), sources)) }
                                    td class="word" { (stall.runtime) ", " (text::whom(stall)) }
                                    td class="number" { (stall.delayed_requests) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn sites(report: &Report, sources: &mut Sources) -> Markup {
    let (stalls, whole) = report.own();
    html! {
        section aria-labelledby="sites" {
            h2 id="sites" { "Where the time goes" }
            @if report.sites.is_empty() {
                p class="none" { "No stall since the start." }
            } @else {
                div class="wide" id="sites-table" role="group" aria-label="Table of sites" tabindex="0" {
                    table {
                        caption {
                            (stalls) @if stalls == 1 { " stall" } @else { " stalls" }
                            " held workers for " (rough(whole)) " in all; the most time first"
                        }
                        thead {
                            tr {
                                th scope="col" { "Where" }
                                th scope="col" { "Handler" }
                                th scope="col" { "Cause" }
                                th scope="col" class="number" { "Time" }
                                th scope="col" class="number" { "Share" }
                                th scope="col" class="number" { "Stalls" }
                                th scope="col" class="number" { "Longest" }
                                th scope="col" { "Last seen" }
                                th scope="col" class="number" {
                                    abbr title="Other requests on the same runtime meanwhile: an upper bound" { "Held up" }
                                }
                            }
                        }
                        tbody {
                            @for (key, totals) in report.sites.iter().take(MOST_SITES) {
                                tr {
                                    th scope="row" class="place" { (place(key.site.as_ref(), sources)) p class="fix" { (totals.fix) } }
                                    td class="who" { (handler(key.handler)) }
                                    td class="word" { (key.cause) }
                                    td class="number" { strong { (rough(totals.time)) } }
                                    td class="number" { (bar(share(totals.time, whole))) }
                                    td class="number" { (totals.stalls) }
                                    td class="number" { (rough(totals.longest)) }
                                    td class="word" { @if totals.in_progress > 0 { strong { "lasts" } } @else { (moment(totals.last_seen, report.now)) } }
                                    td class="number" { (totals.delayed_requests) }
                                }
                            }
                        }
                    }
                }
                @if report.sites.len() > MOST_SITES {
                    p { (report.sites.len() - MOST_SITES) " more are in " a href="/stalls.json" { "stalls.json" } "." }
                }
            }
        }
    }
}

/// Beside the sites, so that one sees which of the two it is.
pub(super) fn environment(report: &Report) -> Markup {
    let ((_, own), (_, outside)) = (report.own(), report.outside());
    html! {
        section aria-labelledby="environment" class="environment" {
            h2 id="environment" { "The pod, not a handler" }
            @if report.environment.is_empty() {
                p class="none" { "No thread was kept from running for longer than the threshold." }
            } @else {
                p {
                    "For " strong { (rough(outside)) } " threads could not run, for reasons outside the program; "
                    "handlers blocked for " strong { (rough(own)) } "."
                }
                table {
                    caption { "Time lost to the environment" }
                    thead {
                        tr {
                            th scope="col" { "Cause" }
                            th scope="col" class="number" { "Time" }
                            th scope="col" class="number" { "Times" }
                            th scope="col" { "Last seen" }
                        }
                    }
                    tbody {
                        @for (cause, totals) in &report.environment {
                            tr {
                                th scope="row" { (cause) p class="fix" { (cause.fix()) } }
                                td class="number" { (rough(totals.time)) }
                                td class="number" { (totals.stalls) }
                                td class="word" { (moment(totals.last_seen, report.now)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn runtimes(report: &Report) -> Markup {
    html! {
        section aria-labelledby="runtimes" {
            h2 id="runtimes" { "Runtimes" }
            @if report.runtimes.is_empty() {
                p class="none" { "None is watched." }
            } @else {
                div class="wide" id="runtimes-table" role="group" aria-label="Table of runtimes" tabindex="0" {
                    table {
                        caption { "Watched runtimes as they are now" }
                        thead {
                            tr {
                                th scope="col" { "Runtime" }
                                th scope="col" class="number" { "Workers" }
                                th scope="col" class="number" { "Stalled" }
                                th scope="col" class="number" {
                                    abbr title="Not seen to come round, with no stall proven: busy or blocked" { "Saturated" }
                                }
                                th scope="col" { "Last tick" }
                                th scope="col" { "Frozen" }
                            }
                        }
                        tbody {
                            @for runtime in &report.runtimes {
                                tr {
                                    th scope="row" { (runtime.name) }
                                    td class="number" { (runtime.workers) }
                                    td class="number" { (runtime.stalled) }
                                    td class="number" { (runtime.saturated) }
                                    td { @match runtime.heartbeat_age {
                                        Some(age) => { (rough(age)) " ago" },
                                        None => "none: without timers, or not driven",
                                    } }
                                    td {
                                        @if runtime.dead { "dead, for " (rough(runtime.frozen)) }
                                        @else if runtime.frozen.as_millis() == 0 { "no" }
                                        @else { "for " (rough(runtime.frozen)) }
                                        @if !runtime.counts { " (does not count for health)" }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn recent(report: &Report, sources: &mut Sources) -> Markup {
    html! {
        section aria-labelledby="recent" {
            h2 id="recent" { "Recent stalls" }
            @if report.recent.is_empty() {
                p class="none" { "None has ended yet." }
            } @else {
                p class="none" { (report.recent.len()) " that are over, newest first." }
            }
            @for stall in &report.recent {
                details id={ "stall-" (stall.id) } {
                    summary {
                        span class="id" { (stall.id) }
                        span class="who" { (handler(&stall.handler)) }
                        span class="time" { (rough(stall.duration)) }
                        span class="why" { (stall.cause) }
                        span class="when" { (moment(stall.started_at, report.now)) }
                    }
                    (facts(report, stall, sources))
                    @match &stall.stack {
                        Some(stack) => (short(stack)),
                        None => p { "No stack: " (stall.stack_missing.as_deref().unwrap_or("it could not be taken")) "." },
                    }
                    p { a href={ "/stalls/" (stall.id) } { "Stall " (stall.id) " with its whole stack" } }
                }
            }
        }
    }
}

/// What is known of one stall, but its stack.
pub(super) fn facts(report: &Report, stall: &Stall, sources: &mut Sources) -> Markup {
    html! {
        dl {
            dt { "Held" }
            dd {
                (text::whom(stall)) " of runtime " (stall.runtime) " for " (wording_time(stall))
                @if stall.in_progress { " so far" }
            }
            dt { "Cause" } dd { (why(stall)) }
            dt { "Where" } dd { (place(stall.site.as_ref(), sources)) }
            dt { "Fix" } dd { strong { (stall.fix) } }
            dt { "Began" } dd { (stamp(stall.started_at)) ", " (ago(stall.started_at, report.now)) }
            dt { "Around it" }
            dd {
                (text::share(stall.workers_stalled, stall.workers)) "; requests: "
                (stall.requests_in_flight) " in flight, " (stall.delayed_requests) " held up at most"
            }
            @if let Some(trace) = stall.trace_id {
                dt { "Trace" } dd { code { (format!("{trace:032x}")) } }
            }
        }
    }
}

/// The user's own frames.
fn short(stack: &Stack) -> Markup {
    let poll = Stack { frames: inside(stack).to_vec(), ..stack.clone() };
    html! {
        ol class="stack" aria-label="Stack, innermost frame first" {
            @for line in folded(&poll) {
                @match line {
                    Line::Own(shown) => li { (frame(shown)) },
                    Line::Others(1) => li class="others" { "1 frame of libraries" },
                    Line::Others(count) => li class="others" { (count) " frames of libraries" },
                }
            }
        }
    }
}

/// All frames.
pub(super) fn whole(stack: &Stack) -> Markup {
    html! {
        h3 { "Stack, innermost frame first" }
        ol class="stack whole" {
            @for shown in &stack.frames {
                li class=[(!shown.own).then_some("library")] { (frame(shown)) }
            }
            @if stack.partial { li class="others" { "outer frames are missing" } }
        }
        p class="none" {
            "Thread " (stack.thread)
            @if stack.by_signal { ", stopped by a signal for a moment" } @else { ", looked at from outside" }
            "."
        }
    }
}

fn frame(frame: &Frame) -> Markup {
    html! { code { (printable(&frame.to_string())) } @if frame.inlined { " " small { "inlined" } } }
}

fn place(site: Option<&Site>, sources: &mut Sources) -> Markup {
    let Some(site) = site else { return html! { span class="none" { "not known" } } };
    html! {
        code class="function" { (printable(&site.function)) }
        @if let Some(file) = &site.file {
            " " span class="file" { (printable(file)) @if let Some(line) = site.line { ":" (line) } }
        }
        @if let Some(line) = sources.line(site) { code class="source" { (line) } }
    }
}

fn why(stall: &Stall) -> Markup {
    html! { (printable(&text::why(stall))) }
}

fn wording_time(stall: &Stall) -> String {
    crate::clock::human(stall.duration)
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
