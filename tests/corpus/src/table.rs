//! Runs all cases in all builds and rewrites the table of `docs/corpus.md`.
//!
//! `tower-stall-corpus-table REPETITIONS [BUILD|CASE ...]`. With builds or cases it runs those alone, and
//! prints the table instead.

#[path = "../../support/machine.rs"]
mod machine;

use std::path::Path;

use corpus_runner::{Build, Results, Verdict, run_all};
use machine::machine;

const BEGIN: &str = "<!-- results -->\n";
const END: &str = "<!-- end of results -->\n";

fn main() {
    let mut arguments = std::env::args().skip(1);
    let repetitions =
        arguments.next().map_or(1, |count| count.parse().expect("a number of repetitions"));
    let chosen: Vec<_> = arguments.collect();
    let is_chosen = |name: &str| chosen.iter().any(|other| other == name);
    let some = Build::ALL.into_iter().filter(|build| is_chosen(build.name())).collect::<Vec<_>>();
    let builds = if some.is_empty() { Build::ALL.to_vec() } else { some };
    // All are built before the first runs: a machine that compiles has no CPU for the cases.
    let programs: Vec<_> = builds.iter().map(|build| build.make()).collect();
    let mut cases = programs[0].cases();
    if cases.iter().any(|case| is_chosen(&case.name)) {
        cases.retain(|case| is_chosen(&case.name));
    }
    let mut results = Results::default();
    for program in &programs {
        run_all(program, &cases, repetitions, |outcome| {
            let name = program.build().name();
            match &outcome.judgement {
                None => println!("{name}: {}: skipped", outcome.case),
                Some(judgement) if judgement.verdict == Verdict::Right => {
                    println!("{name}: {}: right", outcome.case);
                }
                Some(judgement) => {
                    println!(
                        "{name}: {}: {:?}: {}",
                        outcome.case, judgement.verdict, judgement.why
                    );
                }
            }
            results.add(outcome);
        });
    }
    let table = results.table(&cases, &builds);
    println!("\n{table}");
    if chosen.is_empty() {
        rewrite(&table, repetitions, cases.len());
    }
}

fn rewrite(table: &str, repetitions: u32, cases: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/corpus.md");
    let text = std::fs::read_to_string(&path).expect("the document");
    let (before, rest) = text.split_once(BEGIN).expect("a begin of the results");
    let (_, after) = rest.split_once(END).expect("an end of the results");
    let machine = machine();
    let command = format!(
        "`scripts/corpus {repetitions}`: {cases} cases, {repetitions} times each, on {machine}."
    );
    std::fs::write(&path, format!("{before}{BEGIN}{command}\n\n{table}{END}{after}"))
        .expect("it can be written");
}
