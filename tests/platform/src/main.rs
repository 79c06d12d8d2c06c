//! Judges what the faults of `tests/faults` have printed on another platform.
//!
//! `tower-stall-platform FILE` reads what a console showed: a line `fault NAME` before what each has printed.
//! It prints what is wrong, and last the names of those that a busy machine has disturbed, to be
//! committed again. Ends with 1 if anything else is wrong, or nothing was committed.

use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::process::ExitCode;

use report::{Known, Report};
use serde_json::Value;
use table::{Expected, FAULTS};

#[path = "../../support/needs.rs"]
mod needs;
#[path = "../../faults/tests/it/report.rs"]
#[allow(dead_code, reason = "programs are run elsewhere")]
mod report;
#[path = "../../faults/tests/it/table.rs"]
#[allow(dead_code, reason = "some kinds are for other tests")]
mod table;

fn main() -> ExitCode {
    let path = std::env::args().nth(1).expect("the file of a console");
    let console = std::fs::read(path).expect("it can be read");
    let console = String::from_utf8_lossy(&console);
    let (mut good, mut wrong, mut disturbed) = (0, 0, Vec::new());
    for part in console.split("\nfault ").skip(1) {
        let (name, printed) = part.split_once('\n').unwrap_or((part, ""));
        let name = name.trim();
        let expected = FAULTS.iter().find(|expected| expected.name == name);
        match judge(expected.expect("a fault of the table"), printed) {
            Judged::Good(line) => {
                good += 1;
                println!("{name}: {line}");
            }
            Judged::Impossible => {}
            Judged::Disturbed => disturbed.push(name),
            Judged::Wrong => wrong += 1,
        }
    }
    println!("{good} as they should be, {wrong} not, {} disturbed", disturbed.len());
    println!("again: {}", disturbed.join(" "));
    if wrong == 0 && good + disturbed.len() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

enum Judged {
    /// Cause and site, in a line.
    Good(String),
    /// It cannot be committed there, and has said why.
    Impossible,
    Disturbed,
    Wrong,
}

fn judge(expected: &Expected, console: &str) -> Judged {
    let line = console.lines().find(|line| line.starts_with('{'));
    let Some(printed) = line.and_then(|line| serde_json::from_str::<Value>(line.trim()).ok())
    else {
        println!("{}: {console}", expected.name);
        return Judged::Wrong;
    };
    let site = &printed["site"];
    let line = format!(
        "{}, {} {}:{}, {}",
        printed["cause"],
        site["function"],
        site["file"],
        site["line"],
        describe_chain(&printed["awaits"])
    );
    let leads_to_site = leads_to_site(&printed);
    let Some(report) = Report::read(*expected, printed) else { return Judged::Impossible };
    // What is wrong is printed once it is known not to be a disturbance.
    let print = take_hook();
    set_hook(Box::new(|_| {}));
    let checked = catch_unwind(AssertUnwindSafe(|| {
        report.check(Known::FunctionAndLine);
        assert!(leads_to_site, "the chain of awaits does not lead to the site: {line}");
    }));
    set_hook(print);
    match checked {
        Ok(()) => Judged::Good(line),
        Err(_) if report.is_disturbed() => Judged::Disturbed,
        Err(panic) => {
            let what = panic.downcast_ref::<String>().map_or("it panicked", String::as_str);
            println!("{}: {what}", expected.name);
            Judged::Wrong
        }
    }
}

/// How many links of a chain of awaits are the user's own, and what may be missing.
fn describe_chain(chain: &Value) -> String {
    let links = chain["own"].as_array().map_or(0, Vec::len);
    let missing = chain["missing"].as_str().map(|why| format!(", {why}"));
    format!("{links} own links{}", missing.unwrap_or_default())
}

/// Whether the innermost link of the chain of awaits has the line of the site, where there is a site. Where the
/// innermost own frame, or one inside of it, is guessed, nothing of the chain is certain and there is none.
fn leads_to_site(printed: &Value) -> bool {
    let (chain, site) = (&printed["awaits"], &printed["site"]);
    let mut frames = printed["frames"].as_array().into_iter().flatten();
    let found = frames.find(|frame| frame["guessed"] == true || frame["own"] == true);
    if site.is_null() {
        return true;
    }
    if found.is_some_and(|frame| frame["guessed"] == true) {
        return chain.is_null();
    }
    let line = |of: &Value| (of["file"].clone(), of["line"].clone());
    let links = chain["own"].as_array();
    links.and_then(|links| links.last()).is_some_and(|last| line(last) == line(site))
}
