//! Compares what the detector has said with what is right.

use serde_json::Value;

use crate::build::Build;
use crate::case::{Case, Told, is_one_of};

/// Worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Somebody is blamed who did not do it: another handler, site or holder, or a stall where there is none.
    Blames,
    /// Handler and site are right or missing, the cause is another.
    Cause,
    /// There is no record.
    NoRecord,
    /// The site or its line is missing, and the record does not say why.
    Silent,
    /// The fix is for something else.
    Fix,
    /// Who holds the lock is not known.
    Holder,
    /// The site or its line is missing, and the record says why.
    Incomplete,
    /// As it is to be.
    Right,
}

/// A verdict, and what it follows from.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// What was found and what was expected, for people.
    pub why: String,
}

impl Verdict {
    /// Every verdict, the best first.
    pub const ALL: [Self; 8] = [
        Self::Right,
        Self::Incomplete,
        Self::Holder,
        Self::Fix,
        Self::Silent,
        Self::NoRecord,
        Self::Cause,
        Self::Blames,
    ];

    /// The sign in the table.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Blames => "✗",
            Self::Cause => "c",
            Self::NoRecord => "–",
            Self::Silent => "?",
            Self::Fix => "f",
            Self::Holder => "h",
            Self::Incomplete => "○",
            Self::Right => "✓",
        }
    }

    /// What the sign means.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Blames => "wrong: a handler, site or holder is blamed that did nothing",
            Self::Cause => "wrong: another cause",
            Self::NoRecord => "incomplete: no record",
            Self::Silent => {
                "incomplete: the site or its line is missing, and the record does not say why"
            }
            Self::Fix => "incomplete: the fix is not the one for this",
            Self::Holder => "incomplete: who holds the lock is not known",
            Self::Incomplete => {
                "incomplete: the site or its line is missing, and the record says why"
            }
            Self::Right => "right",
        }
    }

    /// Whether something is said that is not so.
    #[must_use]
    pub const fn is_wrong(self) -> bool {
        matches!(self, Self::Blames | Self::Cause)
    }
}

/// The crate of the cases, as it stands in names.
const CRATE: &str = "tower_stall_corpus::";

/// Judges what the program has printed of a case.
pub(crate) fn judge(build: Build, case: &Case, printed: &Value) -> Judgement {
    let records = printed["records"].as_array().expect("a list");
    let mut records: Vec<&Value> =
        records.iter().filter(|record| record["environment"] == false).collect();
    let places = printed["places"].as_array().expect("a list");
    let mut worst = Judgement { verdict: Verdict::Right, why: String::new() };
    for told in &case.told {
        // The oldest first: they come newest first.
        let of_handler =
            records.iter().rposition(|record| record["handler"] == told.handler.as_str());
        let judgement = match of_handler {
            Some(at) => judge_record(build, told, records.remove(at), places),
            None => Judgement { verdict: Verdict::NoRecord, why: format!("no record of {told:?}") },
        };
        worst = worst.or(judgement);
    }
    for record in records {
        let why = format!("one record too many: {}", short(record));
        worst = worst.or(Judgement { verdict: Verdict::Blames, why });
    }
    worst
}

impl Judgement {
    fn or(self, other: Self) -> Self {
        if other.verdict < self.verdict { other } else { self }
    }
}

fn judge_record(build: Build, told: &Told, record: &Value, places: &[Value]) -> Judgement {
    let verdict = verdict(build, told, record, places);
    let why = if verdict == Verdict::Right {
        String::new()
    } else {
        format!("{}; expected {told:?} in {places:?}", short(record))
    };
    Judgement { verdict, why }
}

fn verdict(build: Build, told: &Told, record: &Value, places: &[Value]) -> Verdict {
    let site = judge_site(build, told, record, places);
    let cause = record["cause"].as_str().unwrap_or_default();
    let cause = if is_one_of(&told.cause, cause) { Verdict::Right } else { Verdict::Cause };
    let fix = record["fix"].as_str().unwrap_or_default();
    let hinted = told.fix.split('|').any(|told| fix.contains(told));
    // Without debug information the stack may not show who blocks.
    let general = build.is_stripped() && record["fix"] == record["fix_of_cause"];
    let fix = if hinted || general { Verdict::Right } else { Verdict::Fix };
    site.min(cause).min(fix).min(judge_holder(build, told, record))
}

/// Whoever is named must hold the lock. Without names it may not be known.
fn judge_holder(build: Build, told: &Told, record: &Value) -> Verdict {
    let unknown = if build.is_stripped() { Verdict::Right } else { Verdict::Holder };
    let found = record["held_by"]["holder"].as_str().unwrap_or("unknown");
    let Some((holder, function)) = &told.held_by else {
        return if found == "unknown" { Verdict::Right } else { Verdict::Blames };
    };
    let is_right = is_one_of(holder, found);
    if found == "unknown" {
        return if is_right { Verdict::Right } else { unknown };
    }
    let site = &record["held_by"]["threads"][0]["site"];
    let fits = match site["function"].as_str() {
        _ if function.is_empty() => true,
        None => return unknown,
        Some(found) => {
            let file = site["file"].as_str().unwrap_or_default();
            is_called(function, &found.replace(CRATE, ""), file)
        }
    };
    if fits && is_right { Verdict::Right } else { Verdict::Blames }
}

fn judge_site(build: Build, told: &Told, record: &Value, places: &[Value]) -> Verdict {
    let missing = if says_why(build, record) { Verdict::Incomplete } else { Verdict::Silent };
    let site = &record["site"];
    let Some(function) = site["function"].as_str() else {
        let there_is_none = told.function.is_empty();
        return if there_is_none && missing == Verdict::Incomplete {
            Verdict::Right
        } else {
            missing
        };
    };
    let found = function.replace(CRATE, "");
    let (file, line) = (site["file"].as_str(), site["line"].as_u64());
    let fits = match (file, line) {
        (Some(file), Some(line)) => {
            places.iter().any(|place| is_in(place, file, line))
                && is_called(&told.function, &found, file)
        }
        _ => found == told.function,
    };
    match (fits, line) {
        (false, _) => Verdict::Blames,
        (true, None) => missing,
        (true, Some(_)) => Verdict::Right,
    }
}

/// Whether a record without a site or a line has a reason for that.
fn says_why(build: Build, record: &Value) -> bool {
    let reasons = ["site_missing", "stack_missing"].map(|field| record[field].as_str());
    let mut reasons = reasons.iter().flatten();
    if build.is_stripped() {
        reasons.any(|why| why.contains("debug"))
    } else {
        reasons.next().is_some()
    }
}

fn is_in(place: &Value, file: &str, line: u64) -> bool {
    let lines = place[1].as_u64().zip(place[2].as_u64());
    place[0] == file && lines.is_some_and(|(first, last)| (first..=last).contains(&line))
}

/// Whether a function has that name. Line tables have no paths for inlined functions: then the file
/// and the line tell who it is.
fn is_called(told: &str, found: &str, file: &str) -> bool {
    let last = |path: &str| path.rsplit("::").next().unwrap_or_default().to_owned();
    let stem = file.rsplit('/').next().and_then(|file| file.strip_suffix(".rs"));
    let of_file = stem.is_some_and(|stem| found.starts_with(&format!("{stem}::{{")));
    found == told || of_file || found == last(told)
}

/// A record in one line.
fn short(record: &Value) -> String {
    let fields =
        ["handler", "cause", "detail", "site", "fix", "site_missing", "stack_missing", "seconds"];
    let fields = fields.iter().filter(|field| !record[**field].is_null());
    let fields: Vec<_> = fields.map(|field| format!("{field} {}", record[*field])).collect();
    let frames = record["stack"]["frames"].as_array().map_or(&[][..], |frames| frames);
    let name = |frame: &Value| frame["function"].as_str().unwrap_or("?").to_owned();
    let frames: Vec<_> = frames.iter().take(12).map(name).collect();
    let held_by = record["held_by"]["sentence"].as_str().unwrap_or("not looked for");
    format!("{}; {held_by}; stack {frames:?}", fields.join(", "))
}
