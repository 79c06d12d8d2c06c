//! A suite of tests with `#[tower_stall::test]`, run as a project's CI runs it: which of them fail, what they
//! say, what GitHub and a report get of it.

mod schema;
mod suite;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Whether stacks are taken here.
const STACKS: bool = cfg!(all(target_os = "linux", target_arch = "x86_64"));
/// From the root of the repository.
const SUITE: &str = "tests/ci/tests/reports/suite.rs";

/// The file of a report, which is not there yet.
fn new_file(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tower-stall-ci-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    folder.join("below/stalls.sarif")
}

/// This binary with a part of the suite.
fn suite(arguments: &[&str], report: &PathBuf) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.args(["--test-threads", "4"]).args(arguments);
    for variable in ["", "_CAPTURE", "_SITE_OWNS", "_SITE_SKIPS"] {
        command.env_remove(format!("TOWER_STALL{variable}"));
    }
    command.env_remove(suite::BLOCKS).env_remove("GITHUB_ACTIONS").env_remove("GITHUB_WORKSPACE");
    command.env("TOWER_STALL_REPORT", report);
    command
}

fn text(output: &Output) -> String {
    let [out, error] = [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
    format!("{out}\n{error}")
}

/// The results of a report, which is as the schema wants it, in order of their places.
fn results(report: &PathBuf) -> Vec<Value> {
    let report: Value = serde_json::from_slice(&fs::read(report).expect("a report")).expect("JSON");
    schema::check(&report);
    report["runs"][0]["results"].as_array().expect("results").clone()
}

/// File and line of a result.
fn place(result: &Value) -> (&str, u64) {
    let place = &result["locations"][0]["physicalLocation"];
    let file = place["artifactLocation"]["uri"].as_str().expect("a file");
    (file, place["region"]["startLine"].as_u64().expect("a line"))
}

#[test]
fn without_stalls_the_suite_passes_and_the_report_is_empty() {
    let report = new_file("none");
    let output =
        suite(&["suite::"], &report).env("GITHUB_ACTIONS", "true").output().expect("a child");
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("test suite::is_ignored ... ignored, not today"), "{text}");
    assert!(!text.contains("::error"), "{text}");
    assert_eq!(results(&report), Vec::<Value>::new());
}

#[test]
fn what_blocks_fails_and_is_reported() {
    let report = new_file("all");
    let mut command = suite(&["suite::"], &report);
    let output = command.env(suite::BLOCKS, "yes").env("GITHUB_ACTIONS", "true").output();
    let output = output.expect("a child");
    let text = text(&output);
    let failed: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("test suite::")?.strip_suffix(" ... FAILED"))
        .collect();
    let expected =
        ["blocks", "blocks_and_fails", "blocks_in_a_route", "blocks_on_a_worker", "fails_too"];
    assert_eq!(failed, BTreeSet::from(expected), "{text}");

    // As with the functions, and with the name of the test.
    let begin = format!("suite::blocks at {SUITE}:{}:1: 1 stall of 50 ms or more", suite::TEST);
    assert!(text.contains(&begin), "{begin} is not in\n{text}");
    for part in [
        "suite::blocks blocked worker 0 of runtime \"main\"",
        ": sleep (clock_nanosleep",
        "  fix: use tokio::time::sleep(..).await",
        "GET /users/{id} blocked worker ",
        "import blocked worker ",
        // The error of the test, besides.
        "Error: \"no such luck\"",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }

    let annotations: Vec<_> = text.lines().filter(|line| line.starts_with("::error ")).collect();
    assert_eq!(annotations.len(), 5, "{text}");
    let results = results(&report);
    assert_eq!(results.len(), 5, "{results:#?}");
    let handlers: BTreeSet<_> =
        results.iter().filter_map(|result| result["properties"]["handler"].as_str()).collect();
    let expected = [
        "GET /users/{id}",
        "import",
        "suite::blocks",
        "suite::blocks_and_fails",
        "suite::fails_too",
    ];
    assert_eq!(handlers, BTreeSet::from(expected));
    for (handler, result) in results.iter().map(|it| (&it["properties"]["handler"], it)) {
        assert_eq!(result["ruleId"], "sleep", "{handler}");
        assert_eq!(place(result).0, SUITE, "{handler}");
        // Of the stack, which may come too late on a busy machine.
        if result.get("stacks").is_some() {
            assert_eq!(place(result).1, suite::LINE, "{handler}");
            let start = format!("::error file={SUITE},line={},title=", suite::LINE);
            assert!(annotations.iter().any(|line| line.starts_with(&start)), "{annotations:#?}");
        }
    }
    assert!(!STACKS || results.iter().any(|it| it.get("stacks").is_some()), "{results:#?}");
}

#[test]
fn processes_share_a_report() {
    let report = new_file("many");
    let tests = ["suite::blocks", "suite::blocks_in_a_route", "suite::awaits"];
    // As nextest does it: each test has a process.
    let start = |test: &&str| {
        let mut command = suite(&["--exact", test], &report);
        command.env(suite::BLOCKS, "yes").stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("a child")
    };
    let mut children: Vec<_> = tests.iter().cycle().take(9).map(start).collect();
    let failed = children.iter_mut().map(|child| child.wait().expect("its end"));
    assert_eq!(failed.filter(|status| !status.success()).count(), 6);
    let found = results(&report);
    assert_eq!(found.len(), 6, "{found:#?}");

    // A report of somebody else is not touched.
    fs::write(&report, "{}").expect("a file");
    let output = suite(&["--exact", "suite::blocks", "--nocapture"], &report)
        .env(suite::BLOCKS, "yes")
        .output();
    let text = text(&output.expect("a child"));
    assert!(text.contains("this is no report of tower-stall, nothing was added"), "{text}");
    assert!(text.contains("suite::blocks at "), "{text}");
    assert_eq!(fs::read_to_string(&report).expect("a file"), "{}");
}

#[test]
fn nothing_is_written_where_nothing_is_looked_for() {
    let report = new_file("off");
    let output = suite(&["--exact", "suite::blocks"], &report).env("TOWER_STALL", "off").output();
    assert!(output.expect("a child").status.success());
    assert!(!report.exists());
}
