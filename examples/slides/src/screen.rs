//! What is seen while it runs, on the standard error: a bar for each experiment that goes on, and
//! above them a line for each thing that happens.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

const BAR: usize = 24;

/// All bars.
#[derive(Clone, Debug, Default)]
pub(crate) struct Screen(MultiProgress);

impl Screen {
    /// A bar for an experiment that takes about that long.
    pub(crate) fn row(&self, name: &'static str, expected: Duration) -> Row {
        let bar = self.0.add(ProgressBar::no_length());
        if let Ok(style) =
            ProgressStyle::with_template("{prefix:>3} {life} {elapsed:>4}  {wide_msg}")
        {
            bar.set_style(style.with_key(
                "life",
                move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                    let part = state.elapsed().as_secs_f64() / expected.as_secs_f64();
                    let full = if state.is_finished() { BAR } else { (part * BAR as f64) as usize };
                    let full = full.min(BAR);
                    let _ = write!(out, "{}{}", "█".repeat(full), "░".repeat(BAR - full));
                },
            ));
        }
        bar.set_prefix(name);
        bar.enable_steady_tick(Duration::from_millis(100));
        Row { bars: self.0.clone(), bar, name, start: Instant::now() }
    }
}

/// One experiment on the screen; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    bars: MultiProgress,
    bar: ProgressBar,
    name: &'static str,
    start: Instant,
}

impl Row {
    /// What it is doing.
    pub(crate) fn state(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }

    /// What has happened.
    pub(crate) fn say(&self, text: &str) {
        let seconds = self.start.elapsed().as_secs_f64();
        self.bars.suspend(|| eprintln!("{:>3} {seconds:6.1} s  {text}", self.name));
    }

    pub(crate) fn done(&self) {
        self.bar.finish_with_message("done");
    }
}
