//! Metrics: one table of what there is, one way out at a time.
//!
//! [`Counters`] turns what the watchdog sees and the store of stalls sums up into counters and samples, [`Gauges`] reads the
//! gauges off the runtimes. Both write to a [`Sink`]: [`Direct`] to a recorder that is ours alone,
//! or [`Batch`] for the reporter to hand to the user's recorder, which may block.

mod counters;
#[cfg(feature = "admin")]
mod direct;
mod gauges;
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
