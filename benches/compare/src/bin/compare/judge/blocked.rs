//! tokio-blocked: its warnings, which have the place of the spawn.

use super::{Finding, json};
use crate::run::Recording;

pub(super) fn findings(recording: &Recording) -> Vec<Finding> {
    let of_line = |line| {
        let value = json(line)?;
        let fields = value.get("fields")?;
        let is_its = value.get("target")? == "tokio_blocked::task_poll_blocked";
        is_its.then(|| Finding {
            at: line.at,
            text: format!(
                "poll_duration_ns={} {}:{}",
                fields["poll_duration_ns"],
                fields["callsite.file"].as_str().unwrap_or_default(),
                fields["callsite.line"],
            ),
            cause: String::new(),
        })
    };
    recording.log.iter().filter_map(of_line).collect()
}
