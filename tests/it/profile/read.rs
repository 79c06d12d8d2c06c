//! Each form, by another reader: Go's pprof, inferno, and the structure of the Firefox Profiler's format.

use std::fs;
use std::process::Command;

use serde_json::Value;
use tower_stall::StallProfile;

use super::stall;
use crate::support::Rig;
use crate::support::needs::skip;

/// A profile with two stalls.
fn profile() -> (Rig, StallProfile) {
    let rig = Rig::new(2, |builder| builder);
    stall(&rig, "import");
    stall(&rig, "GET /report;1");
    let profile = rig.stall.profile();
    (rig, profile)
}

/// What Go's pprof prints; `None` where there is none.
fn pprof(options: &[&str], profile: &StallProfile) -> Option<String> {
    if Command::new("go").arg("version").output().is_err() {
        skip("go is not installed (scripts/install-tools)");
        return None;
    }
    let folder = std::env::temp_dir().join(format!("tower-stall-pprof-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("it can be made");
    let file = folder.join("stalls.pb.gz");
    fs::write(&file, profile.pprof()).expect("it can be written");
    let mut command = Command::new("go");
    command.args(["tool", "pprof", "-symbolize=none"]).args(options).arg(&file);
    let output = command.env("HOME", &folder).env("PPROF_TMPDIR", &folder).output();
    let output = output.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{options:?}: {said}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn pprof_reads_what_is_there() {
    let (_rig, profile) = profile();
    let Some(raw) = pprof(&["-raw"], &profile) else { return };
    for part in [
        "stalls/count stall_time/nanoseconds[dflt]",
        "PeriodType: stalls count",
        "handler:[import] runtime:[main]",
        "handler:[GET /report;1] runtime:[main]",
    ] {
        assert!(raw.contains(part), "{part} in {raw}");
    }
    // All samples, and their sum as in the other form.
    let samples = raw.lines().filter_map(|line| {
        let (values, _) = line.split_once(": ")?;
        let mut values = values.split_whitespace().map(|value| value.parse::<u64>().ok());
        Some((values.next()??, values.next()??)).filter(|_| values.next().is_none())
    });
    let sum = samples.fold((0, 0), |sum, sample| (sum.0 + sample.0, sum.1 + sample.1));
    assert_eq!(sum.0, 2, "{raw}");
    let folded = profile.folded();
    let micros = folded.lines().map(|line| line.rsplit_once(' ').expect("a time").1);
    let micros: u64 = micros.map(|time| time.parse::<u64>().expect("a number")).sum();
    // Each line is rounded up.
    assert!(micros >= sum.1 / 1000 && micros <= sum.1 / 1000 + 2, "{micros} {}", sum.1);

    let top = pprof(&["-top", "-lines"], &profile).expect("it is there");
    assert!(top.contains("Type: stall_time"), "{top}");
    let one = pprof(&["-traces", "-tagfocus=handler:import"], &profile).expect("it is there");
    assert!(one.contains("handler:  import\n") && !one.contains("/report"), "{one}");
    if cfg!(feature = "capture") {
        let line = |function: &str| {
            let of_file = |line: &&str| line.contains(function) && line.contains("profile/mod.rs:");
            raw.lines().any(|line| of_file(&line))
        };
        assert!(line("it::profile::load_report"), "{raw}");
        assert!(line("it::profile::stall::{async_block#0}"), "{raw}");
        assert!(!raw.contains("tokio::runtime"), "the poll alone: {raw}");
        let mapping = |line: &&str| line.contains("[FN][FL][LN][IN]");
        assert!(raw.lines().any(|line| mapping(&line)), "nothing is left to look up: {raw}");
    } else {
        assert!(raw.contains("(no stack)"), "{raw}");
    }
}

#[test]
fn inferno_reads_collapsed_stacks() {
    let (_rig, profile) = profile();
    let folded = profile.folded();
    let mut options = inferno::flamegraph::Options::default();
    options.count_name = "us".to_owned();
    let mut graph = Vec::new();
    inferno::flamegraph::from_lines(&mut options, folded.lines(), &mut graph)
        .expect("it reads all");
    let graph = String::from_utf8(graph).expect("text");
    for handler in ["import", "GET /report:1"] {
        assert!(graph.contains(&format!("<title>{handler} (")), "{handler} in {graph}");
    }
    if cfg!(feature = "capture") {
        assert!(graph.contains("<title>it::profile::load_report ("), "{graph}");
        assert!(folded.contains("profile/mod.rs:"), "own code has its line: {folded}");
    }
}

/// The columns of a table have one length; what is a number in them is below `rows`.
#[track_caller]
fn check_columns(table: &Value, columns: &[(&str, usize)]) {
    let length = table["length"].as_u64().expect("a length") as usize;
    for (name, rows) in columns {
        let column = table[*name].as_array().unwrap_or_else(|| panic!("{name} in {table}"));
        assert_eq!(column.len(), length, "{name}");
        for number in column.iter().filter_map(Value::as_u64) {
            assert!(number < *rows as u64, "{name}: {number} of {rows}");
        }
    }
}

/// The functions of a stack, outermost first.
fn functions(thread: &Value, stack: &Value) -> Vec<String> {
    let mut functions = Vec::new();
    let mut stack = stack.as_u64();
    let at = |list: &Value, number: u64| list[number as usize].as_u64();
    while let Some(number) = stack {
        let frame = at(&thread["stackTable"]["frame"], number).expect("a frame");
        let function = at(&thread["frameTable"]["func"], frame).expect("a function");
        let name = at(&thread["funcTable"]["name"], function).expect("a name");
        functions.push(thread["stringArray"][name as usize].as_str().expect("text").to_owned());
        stack = at(&thread["stackTable"]["prefix"], number);
    }
    functions.reverse();
    functions
}

/// By `docs-developer/processed-profile-format.md` of the Firefox Profiler.
#[test]
fn the_firefox_profiler_finds_what_it_needs() {
    const ANY: usize = usize::MAX;
    let (_rig, profile) = profile();
    let document: Value = serde_json::from_str(&profile.firefox()).expect("JSON");
    assert!(document["meta"]["preprocessedProfileVersion"].is_u64());
    assert!(document["meta"]["startTime"].as_f64() > Some(0.0));
    assert_eq!(document["meta"]["markerSchema"][0]["name"], "tower-stall");
    let threads = document["threads"].as_array().expect("a list");
    let mut seen = Vec::new();
    for thread in threads {
        assert!(thread["name"].as_str().expect("a name").starts_with("main worker "), "{thread}");
        let strings = thread["stringArray"].as_array().expect("a list").len();
        let rows = |table: &str| thread[table]["length"].as_u64().expect("a length") as usize;
        let (stacks, frames) = (rows("stackTable"), rows("frameTable"));
        check_columns(&thread["stackTable"], &[("frame", frames), ("prefix", stacks)]);
        let categories = document["meta"]["categories"].as_array().expect("a list").len();
        let of_frames = [("func", rows("funcTable")), ("category", categories)];
        check_columns(&thread["frameTable"], &of_frames);
        check_columns(&thread["funcTable"], &[("name", strings)]);
        let samples = [("stack", stacks), ("weight", ANY), ("timeDeltas", ANY)];
        check_columns(&thread["samples"], &samples);
        let markers = [("name", strings), ("category", categories), ("startTime", ANY)];
        check_columns(&thread["markers"], &markers);
        for (number, data) in
            thread["markers"]["data"].as_array().expect("a list").iter().enumerate()
        {
            assert_eq!(data["type"], "tower-stall");
            let handler = data["handler"].as_u64().expect("a string") as usize;
            let handler = thread["stringArray"][handler].as_str().expect("text").to_owned();
            let stack = functions(thread, &data["cause"]["stack"]);
            assert_eq!(stack[0], handler, "{stack:?}");
            if cfg!(feature = "capture") {
                let load = |name: &String| name.starts_with("it::profile::load_report (");
                assert!(stack.iter().any(load), "{stack:?}");
            }
            let time = |column: &str| thread["markers"][column][number].as_f64().expect("a time");
            assert!(time("endTime") - time("startTime") >= 100.0, "milliseconds");
            seen.push(handler);
        }
    }
    seen.sort();
    assert_eq!(seen, ["GET /report;1", "import"]);
}
