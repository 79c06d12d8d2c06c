//! Metrics: one table of all, one way out at a time.
//!
//! [`Counters`] turns the watchdog's events and the sums of the stall store into counters and samples.
//! [`Gauges`] reads the gauges from the status of the runtimes. Both write to a [`Sink`]: [`Direct`]
//! writes to the page of `/metrics` (seconds exactly, the rest by a recorder of our own), [`Batch`]
//! collects for the reporter, which writes to the user's recorder, since that may block.

mod counters;
#[cfg(feature = "admin")]
mod direct;
mod gauges;
#[cfg(feature = "admin")]
mod seconds;
mod sink;
mod table;

pub(crate) use counters::Counters;
#[cfg(feature = "admin")]
pub(crate) use direct::Direct;
pub(crate) use gauges::Gauges;
pub(crate) use sink::{Batch, Facade, Sink};
#[cfg(feature = "admin")]
pub(crate) use table::describe;
pub use table::{HISTOGRAM_BUCKETS, LAG_BUCKETS, METRICS, MetricInfo, MetricKind, STALL_BUCKETS};
