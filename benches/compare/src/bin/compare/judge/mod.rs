//! What a contender has said of a fault, by rules that look at its own output alone.
//!
//! A *finding* is one statement that a poll has lasted for at least the threshold, with the time at which a
//! reader could have it. The rest is the same for all: a finding before the end of the fault is found *during*
//! it. It names the handler where it has the route or the function of the handler, the spawn place where it has
//! that line, the line where it has one that is marked in the source of the service, the cause where it has
//! a word of that fault. So much is asked of all findings of a run together.

mod blocked;
pub(crate) mod console;
#[cfg(feature = "dial9")]
mod dial9;
mod metrics;
mod stall;

use std::path::{Path, PathBuf};

use serde_json::Value;
use tower_stall_compare::Fault;

use crate::contender::Contender;
use crate::run::{Line, Recording};

/// The source of the faults, with its marks.
const SOURCE: &str = include_str!("../../service/faults.rs");
const FILE: &str = "service/faults.rs";

/// One statement of a contender.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Nanoseconds since 1970.
    pub(crate) at: u64,
    /// Where names and lines are looked for: places are written `file:line`.
    pub(crate) text: String,
    /// What it says of why.
    pub(crate) cause: String,
}

/// What is judged of one run.
#[derive(Debug)]
pub(crate) struct Judgement {
    /// Seconds from the begin of the fault to the first finding, if there is one.
    pub(crate) found: Option<f64>,
    /// Whether that was before the end of the fault.
    pub(crate) is_during: bool,
    pub(crate) handler: bool,
    pub(crate) spawn_place: bool,
    pub(crate) line: bool,
    pub(crate) cause: bool,
    /// Findings before the fault began: of something else.
    pub(crate) others: usize,
    /// The first finding that names the handler, else the first, as it was.
    pub(crate) quote: String,
}

/// Judges a run.
pub(crate) fn judge(contender: &Contender, fault: &Fault, recording: &Recording) -> Judgement {
    let mut findings = match contender.tool {
        "stall" | "hooks" => stall::findings(recording),
        "metrics" => metrics::findings(recording),
        "console" => recording.console.findings(),
        "blocked" => blocked::findings(recording),
        #[cfg(feature = "dial9")]
        "dial9" => dial9::findings(recording),
        other => panic!("no judge for {other}"),
    };
    findings.sort_by_key(|finding| finding.at);
    of_findings(fault, recording.begin, recording.end, &findings)
}

fn of_findings(fault: &Fault, begin: u64, end: u64, findings: &[Finding]) -> Judgement {
    let others = findings.iter().filter(|finding| finding.at < begin).count();
    let findings = &findings[others..];
    let first = findings.first();
    let route = format!("/{}", fault.name);
    let function = format!("faults::{}", fault.name);
    let has = |what: &dyn Fn(&Finding) -> bool| findings.iter().any(what);
    let names = |it: &Finding| has_word(&it.text, &route) || has_word(&it.text, &function);
    let quoted = findings.iter().find(|finding| names(finding)).or(first);
    let has_line = |lines: &[u32]| {
        has(&|finding| lines.iter().any(|line| has_word(&finding.text, &format!("{FILE}:{line}"))))
    };
    Judgement {
        found: first.map(|first| (first.at - begin) as f64 / 1e9),
        is_during: first.is_some_and(|first| first.at < end),
        handler: has(&names),
        spawn_place: has_line(&marked("spawned", fault.name)),
        line: has_line(&marked("blocks", fault.name)),
        cause: has(&|it| fault.causes.iter().any(|cause| is_named(&it.cause, cause))),
        others,
        quote: quoted.map(|finding| finding.text.clone()).unwrap_or_default(),
    }
}

/// Whether it is there with no letter or digit behind it.
fn has_word(text: &str, word: &str) -> bool {
    let rests = text.match_indices(word).map(|(at, _)| &text[at + word.len()..]);
    rests.into_iter().any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
}

/// Whether it is one of the names in a text, or its last part: `nanosleep` of `__clock_nanosleep`.
fn is_named(text: &str, name: &str) -> bool {
    let names = text.split(|c: char| !c.is_alphanumeric() && c != '_');
    let last_part = format!("_{name}");
    names.map(|name| name.trim_matches('_')).any(|it| it == name || it.ends_with(&last_part))
}

/// The lines that a mark of that kind is on, or that lie between two of them.
fn marked(kind: &str, fault: &str) -> Vec<u32> {
    let (one, from) = (format!("// {kind}: {fault}"), format!("// {kind} from here: {fault}"));
    let to = format!("// {kind} to here: {fault}");
    let (mut lines, mut inside) = (Vec::new(), false);
    for (line, number) in SOURCE.lines().zip(1..) {
        inside = (inside || line.ends_with(&from)) && !line.ends_with(&to);
        if inside || line.ends_with(&one) {
            lines.push(number);
        }
    }
    lines
}

/// A line of the log that is JSON.
fn json(line: &Line) -> Option<Value> {
    serde_json::from_str(&line.text).ok()
}

/// All closed segments below a folder.
pub(crate) fn segments_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(segments_below(&path));
        } else if number_of_segment(&path).is_some() {
            found.push(path);
        }
    }
    found
}

/// Of `trace.12.bin` or `trace.12.bin.gz`, 12.
pub(crate) fn number_of_segment(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    let name = name.strip_suffix(".gz").unwrap_or(name).strip_suffix(".bin")?;
    name.rsplit('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleep() -> &'static Fault {
        &tower_stall_compare::FAULTS[0]
    }

    fn finding(at: u64, text: &str, cause: &str) -> Finding {
        Finding { at, text: text.to_owned(), cause: cause.to_owned() }
    }

    #[test]
    fn each_fault_that_blocks_has_marked_lines() {
        for fault in &tower_stall_compare::FAULTS {
            assert_eq!(marked("blocks", fault.name).is_empty(), fault.is_harmless(), "{fault:?}");
        }
        assert!(marked("blocks", "cpu").len() > 3);
        assert!(!marked("spawned", "task").is_empty());
        assert_eq!(marked("spawned", "sleep"), [] as [u32; 0]);
    }

    #[test]
    fn what_is_said_before_the_end_is_said_during() {
        let judged = of_findings(sleep(), 10, 20, &[finding(15, "a poll", "")]);
        assert!(judged.is_during && judged.found.is_some() && !judged.handler && !judged.cause);
        let judged = of_findings(sleep(), 10, 20, &[finding(25, "GET /sleep", "sleep")]);
        assert!(!judged.is_during && judged.handler && judged.cause && !judged.line);
        let judged = of_findings(sleep(), 10, 20, &[finding(5, "a poll", "")]);
        assert!(judged.found.is_none() && judged.others == 1);
    }

    #[test]
    fn a_line_is_right_only_where_the_source_has_the_mark() {
        let line = marked("blocks", "sleep")[0];
        let at = |line| format!("at src/bin/service/faults.rs:{line} in f");
        let says = |text: &str| of_findings(sleep(), 10, 20, &[finding(15, text, "")]);
        assert!(says(&at(line)).line);
        assert!(!says(&at(line + 1)).line);
        assert!(!says(&at(line * 10)).line);
        assert!(says("service::faults::sleep::{closure}").handler);
        assert!(!says("service::faults::sleeper").handler);
    }

    #[test]
    fn a_cause_is_a_name_of_its_own() {
        assert!(is_named("std::thread::sleep __GI___clock_nanosleep", "nanosleep"));
        assert!(!is_named("std::thread::sleep", "read"));
        assert!(is_named("file_io", "file_io"));
    }

    #[test]
    fn only_closed_segments_have_a_number() {
        let number = |name: &str| number_of_segment(Path::new(name));
        assert_eq!(number("a/trace.12.bin"), Some(12));
        assert_eq!(number("a/trace.3.bin.gz"), Some(3));
        assert_eq!(number("a/trace.3.bin.active"), None);
        assert_eq!(number("a/.lock"), None);
    }
}
