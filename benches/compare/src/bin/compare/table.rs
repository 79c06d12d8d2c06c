//! The table of the faults.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use tower_stall_compare::{FAULTS, Fault, THRESHOLD_MS};

use crate::contender::{Contender, Programs};
use crate::judge::{Judgement, judge};
use crate::run::observe;

/// So many services at the same time: nearly all of the time they wait.
const AT_ONCE: usize = 3;
/// A quote is no longer than this.
const QUOTE: usize = 300;

/// All runs of one fault under one contender.
struct Cell<'a> {
    fault: &'a Fault,
    judgements: Vec<Judgement>,
}

impl Cell<'_> {
    fn found(&self) -> Vec<&Judgement> {
        self.judgements.iter().filter(|judgement| judgement.found.is_some()).collect()
    }

    /// What is true of each run in which it was found.
    fn always(&self, what: fn(&Judgement) -> bool) -> bool {
        self.found().into_iter().all(what)
    }

    fn text(&self) -> String {
        let found = self.found();
        let (times, runs) = (found.len(), self.judgements.len());
        let is_harmless = self.fault.is_harmless();
        if found.is_empty() {
            return if is_harmless { "silent" } else { "not found" }.to_owned();
        }
        let mut seconds: Vec<_> = found.iter().filter_map(|judgement| judgement.found).collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[times / 2];
        let during = found.iter().filter(|judgement| judgement.is_during).count();
        let when = match during {
            0 => "after".to_owned(),
            all if all == times => "during".to_owned(),
            some => format!("during in {some} of {times}"),
        };
        let mut text = if times < runs { format!("{times} of {runs}: ") } else { String::new() };
        if is_harmless {
            text.push_str("**false alarm**, ");
        }
        text.push_str(&format!("{when}, {median:.1} s"));
        let told = [
            (self.always(|judgement| judgement.handler), "handler"),
            (self.always(|judgement| judgement.spawn_place), "spawn place"),
            (self.always(|judgement| judgement.line), "line"),
            (self.always(|judgement| judgement.cause), "cause"),
        ];
        for (_, what) in told.iter().filter(|(is_told, _)| *is_told && !is_harmless) {
            text.push_str(&format!(" · {what}"));
        }
        text
    }
}

/// Runs each fault under each contender so many times. Returns the table, with a quote of each contender.
pub(crate) fn of_faults(programs: &Programs, times: usize) -> String {
    let contenders: Vec<_> =
        Contender::ALL.iter().filter(|contender| contender.is_built(programs)).collect();
    let runs: Vec<_> = contenders
        .iter()
        .flat_map(|contender| FAULTS.iter().map(move |fault| (*contender, fault)))
        .flat_map(|run| std::iter::repeat_n(run, times))
        .collect();
    let folder = std::env::temp_dir().join(format!("tower-stall-compare-{}", std::process::id()));
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let Some((contender, fault)) = runs.get(number) else { return };
                    let own = folder.join(number.to_string());
                    let judged =
                        judge(contender, fault, &observe(contender, fault, programs, &own));
                    println!("{} {}: {judged:.1?}", contender.name, fault.name);
                    done.lock().expect("no panic holds it").push((number, judged));
                }
            });
        }
    });
    // Nobody else writes there; what is left is small.
    let _removed = std::fs::remove_dir_all(&folder);
    let mut done = done.into_inner().expect("no panic holds it");
    done.sort_by_key(|(number, _)| *number);
    let mut judged = done.into_iter().map(|(_, judgement)| judgement);
    let columns: Vec<Vec<_>> = contenders
        .iter()
        .map(|_| {
            let cell = |fault| Cell { fault, judgements: judged.by_ref().take(times).collect() };
            FAULTS.iter().map(cell).collect()
        })
        .collect();
    render(programs, &contenders, &columns, times)
}

fn render(
    programs: &Programs,
    contenders: &[&Contender],
    columns: &[Vec<Cell<'_>>],
    times: usize,
) -> String {
    let mut text = format!(
        "{times} runs of each, a threshold of {THRESHOLD_MS} ms. Seconds count from the begin of the block, which \
         lasts for 2 s.\n\n"
    );
    let names: Vec<_> = contenders.iter().map(|contender| contender.name).collect();
    text.push_str(&format!(
        "| fault | {} |\n|---{}|\n",
        names.join(" | "),
        "|---".repeat(names.len())
    ));
    for (row, fault) in FAULTS.iter().enumerate() {
        let cells: Vec<_> = columns.iter().map(|column| column[row].text()).collect();
        text.push_str(&format!("| {} | {} |\n", fault.what, cells.join(" | ")));
    }
    if let Some(why) = &programs.no_dial9 {
        text.push_str(&format!("\ndial9 is not there, since it does not build here: `{why}`.\n"));
    }
    for (contender, column) in contenders.iter().zip(columns) {
        let others: usize =
            column.iter().flat_map(|cell| &cell.judgements).map(|judgement| judgement.others).sum();
        if others > 0 {
            text.push_str(&format!(
                "\n{}, before a fault had begun: {others} reports of something else in {} runs.\n",
                contender.name,
                times * FAULTS.len()
            ));
        }
    }
    text.push_str("\nA report of the first fault by each, as it was:\n\n");
    for (contender, column) in contenders.iter().zip(columns) {
        let quote = column[0].found().first().map(|first| short(&first.quote)).unwrap_or_default();
        text.push_str(&format!("- {}: `{quote}`\n", contender.name));
    }
    text
}

/// Without the folders of this machine, and not longer than a quote may be.
fn short(quote: &str) -> String {
    let words = quote.split(' ').map(|word| match word.rfind("/registry/src/") {
        Some(at) => {
            word[at + "/registry/src/".len()..].split_once('/').map_or(word, |(_, rest)| rest)
        }
        None => word,
    });
    let whole = words.collect::<Vec<_>>().join(" ").replace('`', "'").replace(&own_folder(), "");
    match whole.char_indices().nth(QUOTE) {
        Some((end, _)) => format!("{} …", &whole[..end]),
        None => whole,
    }
}

fn own_folder() -> String {
    format!("{}/", env!("CARGO_MANIFEST_DIR"))
}
