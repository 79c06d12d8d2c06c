//! Stalls in the format for findings, SARIF 2.1.0.

use std::panic::Location;

use serde_json::{Value, json};

use super::places::{Place, Places};
use crate::clock::human;
use crate::stall::{Cause, Frame, Stall};
use crate::testing::found::{Found, Sentence};

/// The name that marks a report as ours.
pub(super) const TOOL: &str = "tower-stall";
/// What paths are relative to, by the name that others use.
const ROOT: &str = "%SRCROOT%";

/// The causes that fail a test: the rules of the report.
fn causes() -> impl Iterator<Item = Cause> {
    Cause::ALL.into_iter().filter(|cause| !cause.is_environment())
}

/// A report without results.
pub(super) fn empty() -> Value {
    let rules: Vec<_> = causes().map(rule).collect();
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": TOOL, "semanticVersion": version, "rules": rules } },
            "originalUriBaseIds": { ROOT: { "description": text("The root of the repository.") } },
            "results": [],
        }],
    })
}

fn rule(cause: Cause) -> Value {
    json!({
        "id": cause.as_str(),
        "shortDescription": text(&format!("A runtime is blocked: {cause}")),
        "fullDescription": text(&format!(
            "A poll held its thread for longer than the test allows. The cause is {cause}."
        )),
        "help": text(&format!("Fix: {}", cause.fix())),
        "defaultConfiguration": { "level": "error" },
        "properties": { "tags": ["async", "blocking"] },
    })
}

pub(super) fn result(found: &Found<'_>, stall: &Stall, places: &Places) -> Value {
    let Found { what, place, threshold, .. } = found;
    let test = places.place(place.file(), place.line());
    let site = stall.site.as_ref();
    let at = site.and_then(|site| places.place(site.file.as_ref()?, site.line?));
    let function = site.map(|site| site.function.as_str());
    // A finding without a place is not shown.
    let first = location(at.as_ref().or(test.as_ref()), function);
    let message = format!(
        "{} (limit {}).\nFix: {}\nFound by {what} at {place}.",
        Sentence(stall),
        human(*threshold),
        stall.fix
    );
    let mut result = json!({
        "ruleId": stall.cause.as_str(),
        "level": "error",
        "message": text(&message),
        "locations": [first],
        "partialFingerprints": { "stall/v1": fingerprint(stall, at.as_ref(), place) },
        "properties": {
            "handler": stall.handler,
            "runtime": stall.runtime,
            "cause": stall.cause.as_str(),
            "fix": stall.fix,
            "durationMs": ms(stall.duration.as_millis()),
            "thresholdMs": ms(threshold.as_millis()),
        },
    });
    if let Some(index) = causes().position(|cause| cause == stall.cause) {
        result["ruleIndex"] = index.into();
    }
    if let Some(worker) = stall.worker {
        result["properties"]["worker"] = worker.into();
    }
    if let Some(detail) = &stall.detail {
        result["properties"]["detail"] = detail.as_str().into();
    }
    if let Some(test) = &test {
        let mut test = location(Some(test), None);
        test["message"] = text(&format!("The test: {what}"));
        result["relatedLocations"] = json!([test]);
    }
    if let Some(stack) = &stall.stack {
        let frames: Vec<_> = stack.frames.iter().map(|it| frame(it, places)).collect();
        let stack = json!({ "message": text("The thread that was blocked"), "frames": frames });
        result["stacks"] = json!([stack]);
    }
    result
}

/// The same for the same finding in each run, also where lines have moved.
fn fingerprint(stall: &Stall, at: Option<&Place>, test: &Location<'_>) -> String {
    let function = stall.site.as_ref().map_or("", |site| &site.function);
    let file = at.map_or(test.file(), |at| &at.file);
    format!("{} {file} {function} {}", stall.cause, stall.handler)
}

fn frame(frame: &Frame, places: &Places) -> Value {
    let at = frame.file.as_ref().zip(frame.line).and_then(|(file, line)| places.place(file, line));
    let function = frame.function.as_deref();
    let mut value = json!({ "location": location(at.as_ref(), function) });
    if let Some(module) = &frame.module {
        value["module"] = (**module).into();
    }
    value
}

fn location(place: Option<&Place>, function: Option<&str>) -> Value {
    let mut location = json!({});
    if let Some(Place { file, line }) = place {
        location["physicalLocation"] = json!({
            "artifactLocation": { "uri": uri(file), "uriBaseId": ROOT },
            "region": { "startLine": line },
        });
    }
    if let Some(function) = function {
        let function = json!({ "fullyQualifiedName": function, "kind": "function" });
        location["logicalLocations"] = json!([function]);
    }
    location
}

fn text(text: &str) -> Value {
    json!({ "text": text })
}

fn ms(ms: u128) -> u64 {
    u64::try_from(ms).unwrap_or(u64::MAX)
}

/// A path as a relative reference.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(byte.into());
            }
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::testing::found::tests::stall;
    use crate::testing::report::places::tests::places;

    fn of(stall: Stall) -> Value {
        let place = Location::caller();
        let threshold = Duration::from_millis(100);
        let found = Found { what: "call", place, threshold, stalls: &[] };
        result(&found, &stall, &places("/app"))
    }

    #[test]
    fn a_result_has_line_handler_cause_and_fix() {
        let result = of(stall());
        assert_eq!(result["ruleId"], "sleep");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "src/app.rs");
        assert_eq!(place["region"]["startLine"], 31);
        let message = result["message"]["text"].as_str().expect("a text");
        for part in [
            "GET /hello blocked worker 2",
            "sleep (nanosleep, 5 s)",
            "(limit 100 ms)",
            "Fix: use tokio::time::sleep",
        ] {
            assert!(message.contains(part), "{message}");
        }
        let test = &result["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(test, file!());
        assert_eq!(result["stacks"][0]["frames"].as_array().map(Vec::len), Some(6));
        let rules = &empty()["runs"][0]["tool"]["driver"]["rules"];
        let index = result["ruleIndex"].as_u64().expect("an index") as usize;
        assert_eq!(rules[index]["id"], "sleep");
    }

    #[test]
    fn a_finding_is_the_same_where_its_line_has_moved() {
        let fingerprint = |stall| of(stall)["partialFingerprints"]["stall/v1"].to_string();
        let mut moved = stall();
        moved.site.as_mut().expect("a site").line = Some(99);
        moved.duration *= 2;
        assert_eq!(fingerprint(stall()), fingerprint(moved));
        let other = Stall { handler: "GET /other".into(), ..stall() };
        assert_ne!(fingerprint(stall()), fingerprint(other));
    }

    #[test]
    fn without_a_site_it_stands_at_the_test() {
        let result = of(Stall { site: None, stack: None, worker: None, detail: None, ..stall() });
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], file!());
        assert!(result.get("stacks").is_none());
    }

    #[test]
    fn paths_become_references() {
        assert_eq!(uri("src/a b/ü:%.rs"), "src/a%20b/%C3%BC%3A%25.rs");
    }
}
