//! The reporter: the thread that calls what may block, which are the log, hooks and the user's
//! recorder.
//!
//! It reads a bounded queue. While one of them is stuck the queue fills up, and further reports are
//! dropped and counted. Nobody else waits.

mod event;
mod limiter;
mod log;
mod log_check;
mod on_stall;
mod pending;
mod queue;
mod reporter;

pub(crate) use event::Event;
pub use on_stall::OnStall;
pub(crate) use queue::Reports;
pub(crate) use reporter::{FLUSH, ReportWays, Reporter};
