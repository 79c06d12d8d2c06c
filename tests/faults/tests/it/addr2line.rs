//! A report of a stripped program, finished with the file that has the symbols.

use std::path::Path;
use std::process::Command;

use crate::report::Report;

/// The program's frames of the report have no names, but `addr2line` finds the line of the fault
/// by them in `symbols`, which is the same build.
pub(crate) fn check(report: &Report, program: &Path, symbols: &Path) {
    let module = program.file_name().expect("a file").to_str().expect("UTF-8");
    let build_id = build_id(symbols);
    let mut offsets = Vec::new();
    for (index, frame) in report.frames().iter().enumerate() {
        if frame["module"] != module {
            continue;
        }
        assert!(frame["function"].is_null() && frame["line"].is_null(), "{report:#?}");
        assert_eq!(frame["build_id"].as_str(), build_id.as_deref(), "{report:#?}");
        let offset = frame["offset"].as_u64().expect("a number");
        // An outer frame is where a call returns to: the call stands before.
        offsets.push(format!("{:#x}", offset - u64::from(index > 0)));
    }
    assert!(!offsets.is_empty(), "{report:#?}");
    let output =
        Command::new("addr2line").arg("-e").arg(symbols).arg("-fiC").args(&offsets).output();
    let output = String::from_utf8(output.expect("addr2line runs").stdout).expect("UTF-8");
    let lines: Vec<&str> = output.lines().collect();
    let (file, line) = report.place();
    let place = format!("{file}:{line}");
    let is_it = |pair: &&[&str]| {
        let at = pair[1].split(" (").next().unwrap_or_default();
        at.ends_with(&place) && pair[0].contains(report.function())
    };
    assert!(lines.chunks_exact(2).any(|pair| is_it(&pair)), "{place}\n{output}\n{report:#?}");
}

/// As the linker wrote it, if it was told to.
fn build_id(file: &Path) -> Option<String> {
    let output = Command::new("readelf").arg("-n").arg(file).output().expect("readelf runs");
    let output = String::from_utf8(output.stdout).expect("UTF-8");
    let id = output.lines().find_map(|line| line.trim().strip_prefix("Build ID: "));
    id.map(str::to_owned)
}
