//! tower-stall: its log. A warning that a stall has started, or where it is, counts. One that has ended has no
//! more to say of whether it was found.

use super::{Finding, json};
use crate::run::Recording;

pub(super) fn findings(recording: &Recording) -> Vec<Finding> {
    let of_line = |line| {
        let value = json(line)?;
        let fields = value.get("fields")?;
        let text = |name: &str| match fields.get(name) {
            Some(serde_json::Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => String::new(),
        };
        let is_told = matches!(text("event").as_str(), "stall_started" | "stall_located");
        let of_program = value.get("level")? == "WARN";
        (is_told && of_program).then(|| Finding {
            at: line.at,
            // The line that only locates it has its place in fields.
            text: match text("message") {
                message if message.contains(&text("code.file.path")) => message,
                message => {
                    let (file, line) = (text("code.file.path"), text("code.line.number"));
                    format!("{message} ({file}:{line} in {})", text("code.function.name"))
                }
            },
            cause: text("cause"),
        })
    };
    recording.log.iter().filter_map(of_line).collect()
}
