//! The settings of the watchdog.

use std::time::Duration;

use super::rules::health::Patience;
use crate::clock::Nanos;

#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchdogSettings {
    pub(crate) scan_interval: Nanos,
    pub(crate) tick_interval: Duration,
    pub(crate) patience: Patience,
    /// Whether to wake a parked worker if that helps timers and sockets.
    pub(crate) rescue: bool,
}
