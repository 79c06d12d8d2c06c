//! tokio-metrics: an interval with slow polls of a route; or one in which a worker was busy for longer than the
//! interval and the one before it lasted together, which only a poll that began earlier explains.

use super::{Finding, json};
use crate::run::Recording;

pub(super) fn findings(recording: &Recording) -> Vec<Finding> {
    let of_line = |line| {
        let value = json(line)?;
        let number = |name: &str| value.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0);
        let is_slow = number("slow_polls") > 0;
        let elapsed = number("elapsed_ms");
        let is_late = elapsed > 0 && number("max_busy_ms") > 2 * elapsed;
        (is_slow || is_late).then(|| Finding {
            at: line.at,
            text: line_without_quotes(&line.text),
            cause: String::new(),
        })
    };
    recording.log.iter().filter_map(of_line).collect()
}

fn line_without_quotes(line: &str) -> String {
    line.replace('"', "").replace(',', ", ")
}
