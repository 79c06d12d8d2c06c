//! Metrics: one table of what there is, one way out at a time.
//!
//! [`Accounts`] turns what the watchdog sees into counters and samples, [`Board`] reads the
//! gauges off the runtimes. Both write to a [`Sink`]: [`Direct`] to a recorder that is ours alone,
//! or [`Batch`] for the reporter to hand to the user's recorder, which may block.

mod accounts;
mod board;
#[cfg(feature = "admin")]
mod direct;
mod sink;
mod sites;
mod table;

pub(crate) use accounts::Accounts;
pub(crate) use board::Board;
#[cfg(feature = "admin")]
pub(crate) use direct::Direct;
pub(crate) use sink::{Batch, Facade, Sink};
#[cfg(feature = "admin")]
pub(crate) use table::describe;
pub use table::{HISTOGRAM_BUCKETS, LAG_BUCKETS, METRICS, MetricInfo, MetricKind, STALL_BUCKETS};
