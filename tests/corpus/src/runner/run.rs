//! Runs cases.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::build::{Build, Program};
use crate::case::Case;
use crate::judge::{Judgement, Verdict, judge};

/// So often a case is run on a machine that leaves no CPU for it.
const TRIES: u32 = 6;
/// So late is a thread that only sleeps where there is no CPU: half of the threshold.
const LATE_MS: u64 = 50;
/// A case that does not end by then has failed.
const LIMIT: Duration = Duration::from_secs(120);

/// What became of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The name of the case.
    pub case: String,
    /// How it was built.
    pub build: Build,
    /// `None` where it cannot be run here.
    pub judgement: Option<Judgement>,
    /// How often it was run again since the machine had no CPU for it.
    pub reruns: u32,
}

/// Runs each case so often.
pub fn run_all(program: &Program, cases: &[Case], repetitions: u32, mut each: impl FnMut(Outcome)) {
    for case in cases {
        for _ in 0..repetitions {
            each(run(program, case));
        }
    }
}

/// Runs a case, and again where the machine left it, or those that looked at it, without a CPU. Who was
/// blamed wrongly is not asked again.
#[must_use]
pub fn run(program: &Program, case: &Case) -> Outcome {
    let outcome = |judgement, reruns| Outcome {
        case: case.name.clone(),
        build: program.build,
        judgement,
        reruns,
    };
    for attempt in 1.. {
        let judgement = match print(program, case) {
            Ok(printed) if printed["skipped"].is_string() => return outcome(None, attempt - 1),
            Ok(printed) => {
                let judgement = judge(program.build, case, &printed);
                let once_more = match judgement.verdict {
                    Verdict::Right | Verdict::Blames => false,
                    _ => attempt < TRIES && is_disturbed(&printed),
                };
                if once_more {
                    continue;
                }
                judgement
            }
            Err(why) => Judgement { verdict: Verdict::NoRecord, why },
        };
        return outcome(Some(judgement), attempt - 1);
    }
    unreachable!("the last attempt returns")
}

impl Program {
    /// Runs futures of these shapes, and returns what it prints of each.
    ///
    /// # Panics
    ///
    /// It does not run, or prints something else.
    #[must_use]
    pub fn awaits(&self, shapes: &[&str]) -> Vec<Value> {
        let output = self.command().arg("--awaits").args(shapes).output();
        let output = output.expect("the program runs");
        let printed = String::from_utf8(output.stdout).expect("UTF-8");
        printed.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}

/// Judges what a program, built as the documentation says, has printed of a case elsewhere. `None` where the
/// case cannot be run, or the machine left it without a CPU and nobody was blamed wrongly: the second
/// value tells which.
#[must_use]
pub fn judge_printed(case: &Case, printed: &Value) -> (Option<Judgement>, bool) {
    if printed["skipped"].is_string() {
        return (None, false);
    }
    let judgement = judge(Build::Limited, case, printed);
    match judgement.verdict {
        // Holders are found on x86_64 with glibc.
        Verdict::Holder => (Some(Judgement { verdict: Verdict::Right, why: String::new() }), false),
        Verdict::Right | Verdict::Blames => (Some(judgement), false),
        _ if is_disturbed(printed) => (None, true),
        _ => (Some(judgement), false),
    }
}

fn print(program: &Program, case: &Case) -> Result<Value, String> {
    let mut command = program.command();
    command.arg(&case.name).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let id = child.id();
    let (errors, output) = (child.stderr.take(), child.stdout.take());
    let read = |from: Option<Box<dyn std::io::Read + Send>>| {
        std::thread::spawn(move || {
            let mut text = String::new();
            from.expect("it is piped").read_to_string(&mut text).map(|_| text)
        })
    };
    let output = read(output.map(|output| Box::new(output) as _));
    let errors = read(errors.map(|errors| Box::new(errors) as _));
    let start = Instant::now();
    let status = loop {
        match child.try_wait().expect("it is a child") {
            Some(status) => break status,
            None if start.elapsed() > LIMIT => {
                child.kill().expect("it is a child");
                return Err(format!("{} ({id}) does not end", case.name));
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let text = |thread: std::thread::JoinHandle<std::io::Result<String>>| {
        thread.join().expect("no panic").unwrap_or_default()
    };
    let (output, errors) = (text(output), text(errors));
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line)
        .map_err(|_| format!("{} has printed no record: {status}\n{errors}", case.name))
}

/// Whether the machine left the thread, or those that looked at it, without a CPU meanwhile.
fn is_disturbed(printed: &Value) -> bool {
    let says = |record: &Value, field: &str, words: &[&str]| {
        let text = record[field].as_str().unwrap_or_default();
        words.iter().any(|word| text.contains(word))
    };
    let late = printed["late_ms"].as_u64().is_some_and(|late| late > LATE_MS);
    let records = printed["records"].as_array().expect("a list");
    late || records.iter().any(|record| {
        record["environment"] == true
            || says(record, "detail", &["starved", "suspended", "throttled", "without a CPU"])
            || says(record, "stack_missing", &["in time"])
    })
}
