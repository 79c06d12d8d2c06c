//! The report of one stall as Markdown, for an issue or a chat.

use super::report::Report;
use super::stack::short;
use super::time::stamp;
use crate::clock::human;
use crate::label::printable;
use crate::stall::{Site, Stack, Stall};
use crate::text::{handler_title, share, stack_missing, waited, whom, why};

/// What is known of a stall, with the frames of its poll.
pub(super) fn stall(report: &Report, stall: &Stall) -> String {
    let blocks = if stall.in_progress { "has blocked" } else { "blocked" };
    let (whom, held) = (whom(stall), human(stall.duration));
    let mut text = format!(
        "### {} {blocks} {whom} for {held}: {}\n\n| | |\n|---|---|\n",
        code(&handler_title(&stall.handler)),
        stall.cause
    );
    let where_is = match (&stall.site, &stall.last_seen) {
        (Some(site), _) => place(site),
        (None, Some(last)) => format!("not known; last seen at {}", place(last)),
        (None, None) => "not known".to_owned(),
    };
    let around = format!(
        "{}; requests: {} in flight, {}",
        share(stall.workers_stalled, stall.workers),
        stall.requests_in_flight,
        waited(stall.delayed_requests)
    );
    let trace = stall.trace_id.map(|trace| code(&format!("{trace:032x}")));
    let rows = [
        ("where", Some(where_is)),
        ("holder", stall.held_by.as_ref().map(|held_by| code(&held_by.to_string()))),
        ("fix", Some(code(&stall.fix))),
        ("cause", Some(code(&why(stall)))),
        ("runtime", Some(code(&stall.runtime))),
        ("began", Some(stamp(stall.started_at))),
        ("around it", Some(around)),
        ("trace", trace),
    ];
    for (name, value) in rows {
        if let Some(value) = value {
            text += &format!("| {name} | {value} |\n");
        }
    }
    for sample in &stall.later {
        text += &format!(
            "| then | {} |\n| its fix | {} |\n",
            code(&sample.to_string()),
            code(&sample.fix)
        );
        if let Some(held_by) = &sample.held_by {
            text += &format!("| its holder | {} |\n", code(&held_by.to_string()));
        }
    }
    if let Some(awaits) = &stall.awaits {
        let lines: String =
            awaits.to_string().lines().map(|line| printable(line).into_owned() + "\n").collect();
        text += &format!("\nHow it got here, outermost first:\n\n{}", in_fence(&lines));
    }
    text += &match &stall.stack {
        Some(stack) => format!("\nStack, innermost frame first:\n\n{}", fenced(stack)),
        None => format!("\nNo stack: {}.\n", stack_missing(stall)),
    };
    for sample in &stall.later {
        if let Some(stack) = &sample.stack {
            text += &format!("\nStack after {}:\n\n{}", human(sample.after), fenced(stack));
        }
    }
    for thread in stall.last_held_by().into_iter().flat_map(|held_by| &held_by.threads) {
        if let Some(stack) = &thread.stack {
            text += &format!("\nStack of {}:\n\n{}", code(&thread.to_string()), fenced(stack));
        }
    }
    let (program, version) = (code(&report.program), env!("CARGO_PKG_VERSION"));
    text + &format!("\nStall {} of {program}, found by tower-stall {version}.\n", stall.id)
}

fn place(site: &Site) -> String {
    let file = site.file.as_deref().map(|file| match site.line {
        Some(line) => format!(" at {}", code(&format!("{file}:{line}"))),
        None => format!(" at {}", code(file)),
    });
    code(&site.function) + &file.unwrap_or_default()
}

fn fenced(stack: &Stack) -> String {
    let shown = stack.of_poll();
    let lines = shown.iter().map(|frame| printable(&short(frame).to_string()).into_owned() + "\n");
    let mut frames: String = lines.collect();
    match stack.frames.len() - shown.len() {
        0 if stack.partial => frames += "(outer frames are missing)\n",
        0 => {}
        outer => frames += &format!("({outer} frames of what polls it)\n"),
    }
    in_fence(&frames)
}

fn in_fence(lines: &str) -> String {
    let fence = "`".repeat(longest_run(lines).max(2) + 1);
    format!("{fence}text\n{lines}{fence}\n")
}

/// Text that is shown as it is, also in a cell of a table.
fn code(text: &str) -> String {
    let text = printable(text).replace('|', "\\|");
    let ticks = "`".repeat(longest_run(&text) + 1);
    let space = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{space}{text}{space}{ticks}")
}

/// How many backticks follow on one another.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_shown_as_it_is() {
        for (text, shown) in [
            ("GET /a", "`GET /a`"),
            ("a|b", "`a\\|b`"),
            ("``", "``` `` ```"),
            ("a`b", "``a`b``"),
            ("two\nlines", "`two\\nlines`"),
        ] {
            assert_eq!(code(text), shown);
        }
    }
}
