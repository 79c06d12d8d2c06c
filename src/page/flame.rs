//! The flame graph: stalled time of the last stalls, by stack, with the handler as root.

use std::collections::BTreeMap;
use std::time::Duration;

use inferno::flamegraph::{Options, from_lines};

use super::report::Report;
use super::stack::plain;
use crate::label::printable;
use crate::stall::Stall;
use crate::text::handler_title as handler;

/// `None` where it cannot be drawn.
pub(super) fn graph(report: &Report) -> Option<Vec<u8>> {
    let lines = lines(report.in_progress.iter().chain(&report.recent));
    let mut options = Options::default();
    options.title = format!("Stalled time of {}", printable(&report.program));
    options.subtitle =
        Some(format!("by handler and stack, of the last {} stalls", report.most_kept));
    options.count_name = "ms".to_owned();
    options.min_width = 0.0;
    options.deterministic = true;
    let mut graph = Vec::new();
    from_lines(&mut options, lines.iter().map(String::as_str), &mut graph).ok()?;
    Some(graph)
}

/// One line for each stack: its frames from the root on, and its milliseconds.
fn lines<'a>(stalls: impl Iterator<Item = &'a Stall>) -> Vec<String> {
    let mut stacks: BTreeMap<String, Duration> = BTreeMap::new();
    for stall in stalls.filter(|stall| !stall.cause.is_environment()) {
        let mut stack = plain(&handler(&stall.handler));
        match stall.stack.as_deref() {
            Some(taken) => {
                for frame in taken.of_poll().iter().rev() {
                    stack.push(';');
                    stack.push_str(&match &frame.function {
                        Some(function) => plain(function),
                        None => plain(&frame.to_string()),
                    });
                }
            }
            None => {
                stack.push_str(";(no stack)");
                if let Some(last) = &stall.last_seen {
                    stack.push_str(&plain(&format!(", last seen at {}", last.function)));
                }
            }
        }
        *stacks.entry(stack).or_default() += stall.duration;
    }
    if stacks.is_empty() {
        return vec!["(no stall yet) 1".to_owned()];
    }
    let line = |(stack, time): (String, Duration)| stack + &format!(" {}", time.as_millis().max(1));
    stacks.into_iter().map(line).collect()
}
