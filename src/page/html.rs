//! The page as HTML. It loads nothing from elsewhere and works without JavaScript.

use std::sync::Arc;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::chain::chain_and_stack;
use super::holders::holders;
use super::parts::{Parts, chain, each, part, whole};
use super::report::Report;
use super::source::SourceLines;
use super::time::stamp;
use super::{tables, timeline};
use crate::stall::Stall;
use crate::text::{handler_title as handler, rough, stacks, thread};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// The Content-Security-Policy of the page: it allows this style and this script, by their hashes, and
/// requests to this server. A test says which hashes they have.
pub(crate) const POLICY: &str = "default-src 'none'; \
    style-src 'sha256-7F1I8cEGM3EwAYUY/WY3E/fgnmqmgAM4xqf52zJ3lVQ='; \
    script-src 'sha256-OeDLPHFU+eA5Yiloe+HCL8m8qRnwng3kaoQISEtldSo='; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Stands where rows come in. What names have of it is escaped.
const ROWS: PreEscaped<&str> = PreEscaped("<!-- rows -->");

struct Document {
    report: Report,
    lines: SourceLines,
}

/// The page of all stalls.
pub(super) fn page(report: Report, lines: SourceLines) -> Parts {
    let rows = html! { (ROWS) };
    let (begin, end) = around(document(&report, "Stalls", &rows));
    let (now, now_end) = around(tables::in_progress(&report, &rows));
    let (recent, recent_end) = around(tables::recent(&report, &rows));
    let data = Arc::new(Document { report, lines });
    chain([
        whole(begin),
        whole(now),
        each(
            &data,
            |data| &data.report.in_progress,
            |data, stall| tables::in_progress_row(stall, &data.lines).into_string(),
        ),
        whole(now_end),
        part(&data, |Document { report, lines }| {
            let beside = html! {
                div class="beside" {
                    (tables::sites(report, lines))
                    (tables::environment(report))
                }
            };
            beside.into_string()
        }),
        part(&data, |data| timeline::section(&data.report).into_string()),
        part(&data, |data| tables::runtimes(&data.report).into_string()),
        whole(recent),
        each(
            &data,
            |data| &data.report.recent,
            |data, stall| tables::recent_row(&data.report, stall, &data.lines).into_string(),
        ),
        whole(recent_end),
        whole(end),
    ])
}

/// What comes before the rows, and after them. Where there are none, there is nothing after them.
fn around(markup: Markup) -> (String, String) {
    let mut begin = markup.into_string();
    let end = begin.find(ROWS.0).map(|at| {
        let end = begin[at + ROWS.0.len()..].to_owned();
        begin.truncate(at);
        end
    });
    (begin, end.unwrap_or_default())
}

/// The page of one stall, with its whole stack.
pub(super) fn stall(report: &Report, stall: &Stall, lines: &SourceLines) -> String {
    let title = format!("Stall {}: {}", stall.id, handler(&stall.handler));
    let body = html! {
        (tables::facts(report, stall, lines))
        div class=[stall.last_held_by().is_some().then_some("halves")] {
            div { (chain_and_stack(stall, tables::whole_stack(stall))) }
            (holders(stall))
        }
        p { a href="/stalls" { "All stalls" } (tables::as_markdown(stall)) }
    };
    document(report, &title, &tables::section("stall", &title, None, &body)).into_string()
}

fn document(report: &Report, title: &str, body: &Markup) -> Markup {
    let verdict = &report.verdict;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · " (report.program) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    div class="top" {
                        h1 { a href="/stalls" { "Stalls" } " of " code { (report.program) } }
                        p class="updated" {
                            span id="updated" {
                                "as of " time datetime=(stamp(report.now)) { (clock(report)) }
                            }
                            " " button id="pause" type="button" aria-pressed="false" hidden { "Pause" }
                        }
                    }
                    p id="said" class="unseen" role="status" {}
                    div id="verdict" class={ "verdict " (verdict.state) }
                        data-state=(verdict.state) {
                        p class="sentence" { (verdict.sentence) }
                        @if let Some(advice) = &verdict.advice {
                            p class="advice" { (advice.about) br; strong { "Fix: " } (advice.fix) }
                        }
                        @for fault in &report.faults {
                            p class="fault" { (thread(*fault)) }
                        }
                        @for notice in &report.notices {
                            p class="notice" { strong { "Note: " } (notice) }
                        }
                    }
                }
                main id="main" { (body) }
                footer { (about(report)) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn clock(report: &Report) -> String {
    let stamp = stamp(report.now);
    // The time of day, to the second.
    format!("{} UTC", stamp.get(11..19).unwrap_or(&stamp))
}

fn about(report: &Report) -> Markup {
    let age = report.now.duration_since(report.since).unwrap_or_default();
    html! {
        p {
            "Process " (report.process) ", watched for " (rough(age)) ". A poll that takes longer than "
            (rough(report.threshold)) " is a stall. Sums count from the start; one by one the last "
            (report.most_kept) " stalls are kept."
            @if let Some(detail) = report.stack_detail { " Here, " (stacks(detail)) "." }
            @if report.suppressed > 0 { " Log lines and reports held back: " (report.suppressed) "." }
        }
        nav aria-label="Other forms" {
            ul {
                li { a href="/stalls.json" { "stalls.json" } }
                @if cfg!(feature = "flamegraph") {
                    li { a href="/flamegraph.svg" { "flamegraph.svg" } }
                }
                @if cfg!(feature = "profile") {
                    li { a href="/stalls.folded" { "stalls.folded" } }
                    li { a href="/debug/pprof/stalls" { "pprof" } }
                    li { a href="/stalls.firefox.json" { "stalls.firefox.json" } }
                }
                li { a href="/metrics" { "metrics" } }
                li { a href="/livez" { "livez" } }
                li { a href="/readyz" { "readyz" } }
            }
            "tower-stall " (env!("CARGO_PKG_VERSION"))
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_allows_this_style_and_this_script() {
        for (kind, text) in [("style", STYLE), ("script", SCRIPT)] {
            let hash = BASE64_STANDARD.encode(Sha256::digest(text));
            let allows = format!("{kind}-src 'sha256-{hash}'");
            assert!(POLICY.contains(&allows), "{allows}");
            assert!(!text.contains("</"), "it would end there");
        }
    }
}
