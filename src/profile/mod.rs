//! Stalled time by stack, in the formats of other tools.
//!
//! The sums are in [`stall`](crate::stall); here they are written down. The admin server decides who may
//! see them.

mod firefox;
mod folded;
mod pprof;
mod window;

use std::time::{Duration, SystemTime};

use crate::clock;
use crate::runtime::registry::Registry;
use crate::stall::{Frame, StackKey, StackSum, StackSums, Stall};
use crate::text;
pub use window::ProfileWindow;

/// The stalls of handlers by stack, for tools that show profiles.
///
/// Given out by [`StallDetector::profile`](crate::StallDetector::profile) since the start, and by
/// [`ProfileWindow::take`] since the last one. Plain data of one moment: it does not change later.
///
/// Stacks have the frames of the poll, without those of the runtime and of the layers around it. Two
/// stalls have the same stack where functions, files and lines are the same. Up to 512 stacks, with 16,384
/// frames in all, have a row; stalls with further ones count under `(other stacks)` of their handler and
/// cause, and those without a stack under `(no stack)`. What the environment did is not in it.
///
/// The chapter [`profiles`](crate::_documentation::profiles) says which tool reads what.
///
/// ```
/// # fn write(stall: &tower_stall::StallDetector) -> std::io::Result<()> {
/// std::fs::write("stalls.pb.gz", stall.profile().pprof())?; // go tool pprof stalls.pb.gz
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct StallProfile {
    program: String,
    /// In a fixed order.
    rows: Vec<(StackKey, StackSum)>,
    /// The last stalls of handlers, oldest first.
    recent: Vec<Stall>,
    threshold: Duration,
    taken: SystemTime,
    span: Duration,
}

impl StallProfile {
    /// Everything since the start of the detector.
    pub(crate) fn since_start(registry: &Registry) -> Self {
        Self::new(registry, registry.store.by_stack())
    }

    fn new(registry: &Registry, StackSums { since, rows, .. }: StackSums) -> Self {
        let now = clock::now();
        let began = clock::wall(since);
        let mut recent = registry.store.stalls();
        let lasted =
            |stall: &Stall| stall.in_progress || stall.started_at + stall.duration >= began;
        recent.retain(|stall| !stall.cause.is_environment() && lasted(stall));
        recent.sort_by_key(|stall| (stall.started_at, stall.id));
        let mut rows: Vec<_> = rows.into_iter().filter(|(_, sum)| sum.time > 0).collect();
        rows.sort_by(|(one, _), (other, _)| one.order().cmp(&other.order()));
        Self {
            program: text::program(),
            rows,
            recent,
            threshold: Duration::from_nanos(registry.threshold),
            taken: clock::wall(now),
            span: Duration::from_nanos(now.saturating_sub(since)),
        }
    }

    /// Collapsed stacks: a line for each, `handler;outermost;…;innermost N`, with the stalled time in
    /// microseconds. Read by inferno, `flamegraph.pl` and speedscope.
    ///
    /// Frames of your own code have their file and line. A `;` within a name is written `:`, and control
    /// characters are escaped. Empty without a stall.
    #[must_use]
    pub fn folded(&self) -> String {
        self.rows.iter().map(folded::line).collect()
    }

    /// The same line by line: names are long, and stand there often.
    #[cfg(feature = "admin")]
    pub(crate) fn into_folded_lines(self) -> impl Iterator<Item = String> + Send {
        self.rows.into_iter().map(|row| folded::line(&row))
    }

    /// The format of pprof: a `profile.proto` message, compressed by gzip. Read by pprof, Pyroscope,
    /// Grafana Alloy and Parca.
    ///
    /// Each sample has `stalls` in `count` and `stall_time` in `nanoseconds`, which is shown by default,
    /// and the labels `handler`, `cause` and `runtime`. Inlined functions are lines of the location they
    /// were inlined to.
    #[must_use]
    pub fn pprof(&self) -> Vec<u8> {
        pprof::write(self)
    }

    /// The processed format of the [Firefox Profiler](https://profiler.firefox.com), as JSON: the last
    /// stalls one by one, on a track for each worker.
    ///
    /// These are the ones that [`StallDetector::stalls`](crate::StallDetector::stalls) has.
    #[must_use]
    pub fn firefox(&self) -> String {
        firefox::write(self)
    }
}

/// A frame as people write it, with the line of your own code.
fn title(frame: &Frame) -> String {
    let Some(function) = &frame.function else { return frame.to_string() };
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) if frame.own => format!("{function} ({file}:{line})"),
        _ => function.clone(),
    }
}

/// What stands where frames are not known.
const NO_STACK: &str = "(no stack)";
const OTHER_STACKS: &str = "(other stacks)";
