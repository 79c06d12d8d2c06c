//! Whether the process is alive and can take requests, as probes ask.
//!
//! [`assess`](assess::assess) judges the status of all runtimes and the stalls in progress, for
//! probes and the page; [`judge`] says the result in the words of probes. Both are pure functions.

pub(crate) mod assess;
mod judge;
mod report;
mod state;

pub use report::{Health, HealthReport, Readiness};
pub(crate) use state::HealthState;
