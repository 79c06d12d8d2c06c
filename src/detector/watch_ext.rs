//! Naming futures from their side.

use std::future::Future;

use super::detector::StallDetector;
use crate::mark::Watched;

/// Names a future at the end of an expression.
///
/// ```
/// # async fn run(stall: &tower_stall::StallDetector) {
/// use tower_stall::WatchExt;
///
/// let report = async { /* … */ };
/// tokio::spawn(report.watched_by(stall, "nightly-report"));
/// # }
/// ```
pub trait WatchExt: Future + Sized {
    /// The same as [`StallDetector::watched`].
    fn watched_by(self, stall: &StallDetector, name: &str) -> Watched<Self> {
        stall.watched(name, self)
    }
}

impl<F: Future> WatchExt for F {}
