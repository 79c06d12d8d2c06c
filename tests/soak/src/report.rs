//! The table at the end.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::judge::{Court, Tally};
use crate::machine::Samples;
use crate::watch::PAGES;
use crate::world::World;

/// As many may be excused whatever the share is.
const A_FEW: u64 = 3;

/// Complaints about the sums.
pub(crate) fn complaints(court: &Court) -> Vec<String> {
    let Tally { faults, limited, unclear, environment, .. } = court.all();
    // Each is excused by the record and, but for the first, by what the machine has done meanwhile. With more of
    // them nothing is shown.
    let bounded = [
        ("lack a line since the CPU time for stacks was spent", limited, faults / 20),
        ("lack a line since the machine had no CPU", unclear, faults / 10),
        ("are the environment's: the machine is too busy to tell", environment, faults / 4),
    ];
    let bounded = bounded.into_iter().chain([(
        "are no faults: harmless handlers that blocked by themselves",
        court.incident_records,
        faults / 50,
    )]);
    let too_many = bounded.filter(|(_, number, most)| *number > most + A_FEW);
    let mut all: Vec<_> = too_many
        .map(|(what, number, most)| format!("{number} of {faults} faults {what}; {most} may"))
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
        "{:.1} minutes, seed {}, a {} build; {} requests, {} scrapes\n",
        time.as_secs_f64() / 60.0,
        world.seed,
        if cfg!(debug_assertions) { "debug" } else { "release" },
        counts.requests.load(Relaxed),
        counts.scrapes.load(Relaxed),
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
        "\n{} records that nothing explains, {} of handlers that blocked by themselves, {} of the environment\n",
        court.blamed, court.incident_records, court.environment
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
    for (what, begin, end, most) in samples.rows() {
        line(format!("| {what} | {begin} | {end} | {most} |"));
    }
    text
}
