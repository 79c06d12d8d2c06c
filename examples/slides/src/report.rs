//! What was measured: one JSON document for programs, tables for people.
//!
//! The document has `scale`, `probe` (the numbers of both probes), `sleepers` (experiments 1 and 2)
//! and `pods` (experiment 3), with the fields of [`Sleeper`] and [`Pod`]. Times are in seconds as
//! measured, not scaled back; what did not happen is `null`.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use crate::container::{EndedBy, brief};
use crate::probe::Probe;
use crate::scale::Scale;
use crate::service::Flavor;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) scale: Scale,
    pub(crate) probe: Probe,
    pub(crate) sleepers: Vec<Sleeper>,
    pub(crate) pods: Vec<Pod>,
}

/// A handler that sleeps, called once and several times at a time.
#[derive(Debug, Serialize)]
pub(crate) struct Sleeper {
    /// `1a` to `2b`.
    pub(crate) experiment: &'static str,
    pub(crate) handler: String,
    pub(crate) sleep: &'static str,
    /// `current-thread` or `multi-thread`.
    pub(crate) runtime: Flavor,
    pub(crate) calls: usize,
    pub(crate) one_call_seconds: f64,
    pub(crate) all_calls_seconds: f64,
    /// Of all to one.
    pub(crate) ratio: f64,
    /// Stalls of this handler that the detector has counted, in all calls.
    pub(crate) stalls_counted: u64,
}

/// A pod of which a handler blocks. Times count from the call of that handler.
#[derive(Debug, Serialize)]
pub(crate) struct Pod {
    /// `3a` to `3d`.
    pub(crate) experiment: &'static str,
    pub(crate) runtime: Flavor,
    /// What the liveness probe and the readiness probe ask.
    pub(crate) probes: [&'static str; 2],
    /// `null`: it never ends.
    pub(crate) block_seconds: Option<f64>,
    pub(crate) dead_after_seconds: f64,
    /// Between which times a restart is documented, `null` where none is.
    pub(crate) documented_seconds: Option<[f64; 2]>,
    pub(crate) restarts: u32,
    /// When the first restart was decided: SIGTERM.
    pub(crate) restarted_after_seconds: Option<f64>,
    /// When the container had ended.
    pub(crate) ended_after_seconds: Option<f64>,
    /// `SIGTERM`, or `SIGKILL` after the grace period.
    pub(crate) ended_by: Option<EndedBy>,
    pub(crate) out_of_rotation_after_seconds: Option<f64>,
    pub(crate) back_in_rotation_after_seconds: Option<f64>,
    pub(crate) in_rotation_at_end: bool,
    /// The first line of the log about the block, without its fields.
    pub(crate) told: Option<String>,
    /// File, line and function, by the first line of the log that names them.
    pub(crate) site: Option<String>,
    /// Stacks that were not taken in time: the machine was too busy, and there may be no line.
    pub(crate) stacks_timed_out: u64,
    /// The last body of `/livez` that was not `ok`.
    pub(crate) livez: Option<String>,
    /// The last line of the log of the container that blocked: what
    /// `terminationMessagePolicy: FallbackToLogsOnError` shows of one that was killed.
    pub(crate) last_log_line: Option<String>,
}

impl Report {
    /// The tables and what was told, for people.
    pub(crate) fn print(&self) {
        if !self.sleepers.is_empty() {
            println!("\n{}", self.sleepers_table());
        }
        if !self.pods.is_empty() {
            println!("\n{}\n", self.pods_table());
            self.pods.iter().for_each(Pod::print_what_was_told);
        }
    }

    fn sleepers_table(&self) -> Table {
        let mut table = table([
            "",
            "handler sleeps by",
            "runtime",
            "one call",
            "5 at a time",
            "ratio",
            "stalls",
        ]);
        for sleeper in &self.sleepers {
            table.add_row([
                sleeper.experiment.to_owned(),
                sleeper.sleep.to_owned(),
                name(sleeper.runtime).to_owned(),
                format!("{:.2} s", sleeper.one_call_seconds),
                format!("{:.2} s", sleeper.all_calls_seconds),
                format!("{:.2}", sleeper.ratio),
                sleeper.stalls_counted.to_string(),
            ]);
        }
        right(&mut table, 3..=6);
        table
    }

    fn pods_table(&self) -> Table {
        let mut table = table([
            "",
            "runtime",
            "probes",
            "blocks for",
            "restarted",
            "ended",
            "out of rotation",
            "back",
        ]);
        for pod in &self.pods {
            let ended = match (pod.ended_after_seconds, pod.ended_by) {
                (Some(after), Some(by)) => format!("{after:.1} s, {}", by.name()),
                _ => "no".into(),
            };
            let [live, ready] = pod.probes;
            table.add_row([
                pod.experiment.to_owned(),
                name(pod.runtime).to_owned(),
                if live == ready { live.to_owned() } else { format!("{live} {ready}") },
                pod.block_seconds.map_or("ever".into(), |block| format!("{block:.1} s")),
                after(pod.restarted_after_seconds, "no"),
                ended,
                after(pod.out_of_rotation_after_seconds, "never"),
                after(pod.back_in_rotation_after_seconds, "-"),
            ]);
        }
        right(&mut table, 3..=7);
        table
    }
}

impl Pod {
    fn print_what_was_told(&self) {
        let experiment = self.experiment;
        if let Some([from, to]) = self.documented_seconds {
            println!("{experiment}  documented   restart after {from:.1} to {to:.1} s");
        }
        let killed = self.last_log_line.as_deref().filter(|_| self.restarts > 0);
        let last = killed.map(brief);
        for (what, text) in [
            ("log", &self.told),
            ("site", &self.site),
            ("/livez", &self.livez),
            ("last line", &last),
        ] {
            if let Some(text) = text {
                println!("{experiment}  {what:<11}  {text}");
            }
        }
        println!();
    }
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::ASCII_MARKDOWN)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header);
    table
}

fn right(table: &mut Table, columns: std::ops::RangeInclusive<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn name(flavor: Flavor) -> &'static str {
    match flavor {
        Flavor::CurrentThread => "current-thread",
        Flavor::MultiThread => "multi-thread",
    }
}

fn after(seconds: Option<f64>, otherwise: &str) -> String {
    seconds.map_or(otherwise.into(), |seconds| format!("{seconds:.1} s"))
}

/// To the millisecond.
pub(crate) fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
