//! The table at the end.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::judge::{Court, Tally};
use crate::machine::{GROWTH, Held, Samples};
use crate::watch::PAGES;
use crate::world::World;

/// How many faults may lack a line for a reason: one in so many, and a few where there are few.
const ONE_IN: u64 = 20;
const A_FEW: u64 = 3;

/// Complaints about the sums.
pub(crate) fn complaints(court: &Court) -> Vec<String> {
    let Tally { faults, limited, unclear, environment, .. } = court.all();
    let most = faults / ONE_IN + A_FEW;
    let bounded = [
        ("lack a line since the CPU time for stacks was spent", limited),
        ("lack a line since the machine had no CPU", unclear),
        ("are the environment's", environment),
    ];
    let too_many = bounded.into_iter().filter(|(_, number)| *number > most);
    let mut all: Vec<_> = too_many
        .map(|(what, number)| format!("{number} of {faults} faults {what}; {most} may"))
        .collect();
    if faults == 0 {
        all.push("no fault was committed".to_owned());
    }
    all
}

/// What became of the run, in Markdown.
pub(crate) fn table(world: &World, court: &Court, samples: &Samples, time: Duration) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("memory");
    let counts = &world.counts;
    line(format!(
        "{:.1} minutes, seed {}; {} requests and {} scrapes in {} release build\n",
        time.as_secs_f64() / 60.0,
        world.seed,
        counts.requests.load(Relaxed),
        counts.scrapes.load(Relaxed),
        if cfg!(debug_assertions) { "no" } else { "a" },
    ));
    line("| cause | faults | found | limited | no CPU for the stack | the environment's | missed | wrong |".into());
    line("|---|---|---|---|---|---|---|---|".into());
    let row = |name: &str, tally: &Tally| {
        let Tally { faults, found, limited, unclear, environment, missed, wrong } = tally;
        format!(
            "| {name} | {faults} | {found} | {limited} | {unclear} | {environment} | {missed} | {wrong} |"
        )
    };
    for (cause, tally) in &court.tallies {
        line(row(&format!("`{cause}`"), tally));
    }
    line(row("all", &court.all()));
    line(format!(
        "\n{} records that no fault explains, {} records of the environment\n",
        court.blamed, court.environment
    ));
    line("| beside them | |".into());
    line("|---|---|".into());
    for (what, count) in [
        ("panics of handlers and tasks", &counts.panics),
        ("clients that went away", &counts.disconnects),
        ("runtimes that came and went", &counts.runtimes),
        ("detectors that came and went", &counts.detectors),
        ("threads that came and went", &counts.threads),
        ("times that hook, log or recorder blocked for a second", &counts.pauses),
        ("harmless requests that failed", &counts.failed_requests),
    ] {
        line(format!("| {what} | {} |", count.load(Relaxed)));
    }
    let slowest = *world.slowest.lock().expect("not poisoned");
    for (page, slowest) in PAGES.into_iter().zip(slowest) {
        line(format!("| the slowest `{page}` | {} ms |", slowest.as_millis()));
    }
    line("\n| the process holds | after the warm-up | at the end | may grow by |".into());
    line("|---|---|---|---|".into());
    let (begin, end) = samples.ends();
    let rows: [(&str, fn(&Held) -> usize); 4] = [
        ("resident memory, KiB", |held| held.kilobytes),
        ("file descriptors", |held| held.files),
        ("threads", |held| held.threads),
        ("series on `/metrics`", |held| held.series),
    ];
    for (what, of) in rows {
        line(format!("| {what} | {} | {} | {} |", of(&begin), of(&end), of(&GROWTH)));
    }
    text
}
