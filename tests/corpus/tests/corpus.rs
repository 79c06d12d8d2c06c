//! The corpus in a build as the documentation says, and a part of it with line tables alone. `scripts/corpus`
//! runs the rest.
#![cfg(target_os = "linux")]

mod awaits;

use std::collections::BTreeSet;
use std::sync::{LazyLock, Mutex};

use corpus_runner::{Build, Case, KNOWN, Known, Outcome, Program, Verdict, run};

/// All are built before the first runs: a machine that compiles has no CPU for the cases.
static PROGRAMS: LazyLock<[Program; 2]> =
    LazyLock::new(|| [Build::Limited.make(), Build::LineTables.make()]);

/// One case after the other, for the same reason.
static ONE: Mutex<()> = Mutex::new(());

/// One of each kind of stack: a handler, a stream, a task, hints of crates, no frame of the user's own, and
/// what must not be reported.
const WITH_LINE_TABLES: [&str; 12] = [
    "argon2-login",
    "crossbeam-recv",
    "extractor-behind-middleware",
    "futures-block-on",
    "grpc-server-stream",
    "json-parsed-in-handler",
    "mutex-held-by-ticker",
    "sleep-in-drop",
    "spawn-blocking",
    "sqlite-busy",
    "stream-that-is-always-ready",
    "task-sleeps",
];

/// A miss that is always one was so in each of as many runs.
const RUNS_OF_A_MISS: usize = 3;

#[test]
fn there_are_sixty_cases_and_more_each_with_its_source() {
    let cases = PROGRAMS[0].cases();
    assert!(cases.len() >= 60, "{}", cases.len());
    let names: BTreeSet<_> = cases.iter().map(|case| &case.name).collect();
    assert_eq!(names.len(), cases.len(), "each has its own name");
    assert!(cases.iter().all(|case| case.source.len() > 5));
    assert!(WITH_LINE_TABLES.iter().all(|name| cases.iter().any(|case| case.name == *name)));
    for known in KNOWN {
        assert!(names.contains(&known.case.to_owned()), "{known:?}");
        assert!(!known.verdict.is_wrong(), "nothing wrong is put up with: {known:?}");
    }
}

#[test]
fn users_are_told_the_truth() {
    let program = &PROGRAMS[0];
    check(program, &program.cases());
}

#[test]
fn users_are_told_the_truth_with_line_tables() {
    let program = &PROGRAMS[1];
    let mut cases = program.cases();
    cases.retain(|case| WITH_LINE_TABLES.contains(&case.name.as_str()));
    check(program, &cases);
}

#[test]
fn chains_of_awaits_are_right() {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    PROGRAMS.iter().for_each(awaits::check);
    // They take minutes to build.
    if std::env::var_os("STALL_CORPUS_BUILDS").is_some_and(|builds| builds == "all") {
        [Build::Size, Build::Fat].map(Build::make).iter().for_each(awaits::check);
    }
}

#[track_caller]
fn check(program: &Program, cases: &[Case]) {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut failed = Vec::new();
    for case in cases {
        let known =
            KNOWN.iter().find(|known| known.case == case.name && known.build == program.build());
        let complaint = match known {
            Some(known) => check_miss(program, case, known),
            None => check_case(&run(program, case)),
        };
        failed.extend(complaint);
    }
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

/// What is not right in it.
fn check_case(outcome: &Outcome) -> Option<String> {
    let name = &outcome.case;
    let Some(judgement) = &outcome.judgement else {
        println!("skipped: {name}");
        return None;
    };
    let is_right = judgement.verdict == Verdict::Right;
    (!is_right).then(|| format!("{name}: {:?}: {}", judgement.verdict, judgement.why))
}

fn check_miss(program: &Program, case: &Case, known: &Known) -> Option<String> {
    let mut rights = 0;
    for _ in 0..RUNS_OF_A_MISS {
        let outcome = run(program, case);
        let verdict = outcome.judgement.as_ref()?.verdict;
        if verdict == Verdict::Right {
            rights += 1;
        } else if verdict != known.verdict {
            return check_case(&outcome);
        }
    }
    let is_mended = rights == RUNS_OF_A_MISS && !known.at_times;
    is_mended.then(|| format!("{} is right: take it off the list of known misses", case.name))
}
