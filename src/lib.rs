//! Finds the code that blocks a Tokio runtime while it blocks.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

#[cfg(feature = "admin")]
mod admin;
mod builder;
mod clock;
mod detector;
mod error;
mod global;
mod instrument;
mod label;
pub mod layer;
mod metrics;
mod probe;
mod record;
mod report;
mod sync;
#[allow(unsafe_code)]
mod sys;
mod thread;
mod watchdog;

pub use builder::{Builder, StallDetector};
pub use error::BuildError;
pub use global::layer;
pub use instrument::{WatchExt, Watched, allow_blocking};
pub use layer::{StallLayer, StallService};
pub use metrics::{HISTOGRAM_BUCKETS, LAG_BUCKETS, METRICS, MetricInfo, MetricKind, STALL_BUCKETS};
pub use record::{Cause, Stall};
pub use report::OnStall;
#[cfg(feature = "__bench")]
#[doc(hidden)]
pub use watchdog::BenchScans;
