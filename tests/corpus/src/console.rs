//! Judges what cases have printed on another platform.
//!
//! `tower-stall-corpus-console FILE` reads what a console showed: the cases, as the program lists them, then a
//! line `case NAME` before what each has printed. It prints what is not right, and last the names of those that a
//! busy machine has disturbed, to be run again. Ends with 1 if somebody was blamed wrongly, with 2 if nothing
//! was right.

use std::process::ExitCode;

use corpus_runner::{Case, Verdict, judge_printed};

/// Of some cases that are tried again it says nothing.
const NONE_RIGHT: u8 = 2;

fn main() -> ExitCode {
    let path = std::env::args().nth(1).expect("the file of a console");
    let console = std::fs::read(path).expect("it can be read");
    let console = String::from_utf8_lossy(&console);
    let mut parts = console.split("\ncase ");
    let objects = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with('{')).map(|line| line.trim().into()).collect()
    };
    let cases = objects(parts.next().unwrap_or_default());
    let cases: Vec<_> = cases.iter().map(|line| Case::read(line)).collect();
    let (mut right, mut incomplete, mut wrong, mut disturbed) = (0, 0, 0, Vec::new());
    for part in parts {
        let (name, printed) = part.split_once('\n').unwrap_or((part, ""));
        let name = name.trim();
        let case = cases.iter().find(|case| case.name == name).expect("a case of the list");
        let line = objects(printed).pop();
        let Some(printed) = line.and_then(|line| serde_json::from_str(&line).ok()) else {
            wrong += 1;
            println!("{name} has printed no record: {printed}");
            continue;
        };
        match judge_printed(case, &printed) {
            (Some(judgement), _) if judgement.verdict == Verdict::Right => {
                right += 1;
                println!("{name}: right");
            }
            (Some(judgement), _) => {
                *if judgement.verdict.is_wrong() { &mut wrong } else { &mut incomplete } += 1;
                println!("{name}: {:?}: {}", judgement.verdict, judgement.why);
            }
            (None, true) => disturbed.push(name),
            (None, false) => println!("{name}: skipped"),
        }
    }
    println!(
        "{right} right, {incomplete} incomplete, {wrong} wrong, {} disturbed",
        disturbed.len()
    );
    println!("again: {}", disturbed.join(" "));
    match (wrong, right) {
        (0, 1..) => ExitCode::SUCCESS,
        (0, 0) => ExitCode::from(NONE_RIGHT),
        _ => ExitCode::FAILURE,
    }
}
