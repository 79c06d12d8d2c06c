//! The page of stalls, for people (`/stalls`), for programs (`/stalls.json`) and as a flame graph.
//!
//! [`report`] gathers what is known at one moment as plain data; the other files show it and ask
//! nobody. Who may see it is the admin server's business.

#[cfg(feature = "flamegraph")]
mod flame;
mod html;
mod json;
mod report;
mod source;
mod stack;
mod tables;
mod time;
mod timeline;
mod verdict;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::clock;
use crate::detector::hub::Hub;
pub(crate) use html::POLICY;
use report::Report;
use source::Sources;

/// Shows the stalls of one detector.
pub(crate) struct Page {
    hub: Arc<Hub>,
    since: SystemTime,
    /// Of switched off detectors there is nothing to show.
    on: bool,
}

impl Page {
    pub(crate) fn new(hub: Arc<Hub>) -> Self {
        let on = hub.is_watching();
        Self { hub, since: clock::wall(clock::now()), on }
    }

    fn report(&self) -> Report {
        Report::gather(&self.hub, self.since, self.on)
    }

    pub(crate) fn html(&self) -> String {
        html::page(&self.report(), &mut Sources::default())
    }

    pub(crate) fn json(&self) -> String {
        json::document(&self.report(), &mut Sources::default()).to_string()
    }

    /// The page of one stall, while it is among the last ones.
    pub(crate) fn stall(&self, id: u64) -> Option<String> {
        let report = self.report();
        let mut all = report.in_progress.iter().chain(&report.recent);
        let stall = all.find(|stall| stall.id == id)?;
        Some(html::stall(&report, stall, &mut Sources::default()))
    }

    /// The stalled time of the last stalls, by stack.
    #[cfg(feature = "flamegraph")]
    pub(crate) fn flame_graph(&self) -> Option<Vec<u8>> {
        flame::graph(&self.report())
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page").field("since", &self.since).finish_non_exhaustive()
    }
}
