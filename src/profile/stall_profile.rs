//! The profile that users see, and its formats.

use super::data::Data;
use super::{firefox, folded, pprof};
use crate::runtime::registry::Registry;
use crate::stall::StackSums;

/// The stalls of handlers by stack, for tools that show profiles.
///
/// Given out by [`StallDetector::profile`](crate::StallDetector::profile) since the start, and by
/// [`ProfileWindow::take`](crate::ProfileWindow::take) since the last one. Plain data of one moment: it does not change later.
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
pub struct StallProfile(Data);

impl StallProfile {
    /// Everything since the start of the detector.
    pub(crate) fn since_start(registry: &Registry) -> Self {
        Self::new(registry, registry.store.by_stack())
    }

    pub(super) fn new(registry: &Registry, sums: StackSums) -> Self {
        Self(Data::new(registry, sums))
    }

    /// Collapsed stacks: a line for each, `handler;outermost;…;innermost N`, with the stalled time in
    /// microseconds. Read by inferno, `flamegraph.pl` and speedscope.
    ///
    /// Frames of your own code have their file and line. A `;` within a name is written `:`, and control
    /// characters are escaped. Empty without a stall.
    #[must_use]
    pub fn folded(&self) -> String {
        self.0.rows.iter().map(folded::line).collect()
    }

    /// The same line by line: names are long, and stand there often.
    #[cfg(feature = "admin")]
    pub(crate) fn into_folded_lines(self) -> impl Iterator<Item = String> + Send {
        self.0.rows.into_iter().map(|row| folded::line(&row))
    }

    /// The format of pprof: a `profile.proto` message, compressed by gzip. Read by pprof, Pyroscope,
    /// Grafana Alloy and Parca.
    ///
    /// Each sample has `stalls` in `count` and `stall_time` in `nanoseconds`, which is shown by default,
    /// and the labels `handler`, `cause` and `runtime`. Inlined functions are lines of the location they
    /// were inlined to.
    #[must_use]
    pub fn pprof(&self) -> Vec<u8> {
        pprof::write(&self.0)
    }

    /// The processed format of the [Firefox Profiler](https://profiler.firefox.com), as JSON: the last
    /// stalls one by one, on a track for each worker.
    ///
    /// These are the ones that [`StallDetector::stalls`](crate::StallDetector::stalls) has.
    #[must_use]
    pub fn firefox(&self) -> String {
        firefox::write(&self.0)
    }
}
