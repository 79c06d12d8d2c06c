//! The settings of the watchdog.

use std::time::Duration;

use super::rules::health::Patience;
use crate::clock::{Nanos, nanos};

#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchdogSettings {
    pub(crate) scan_interval: Nanos,
    pub(crate) tick_interval: Duration,
    /// The time between two ticks, and between two scans, while the service is idle.
    pub(crate) idle_interval: Nanos,
    pub(crate) patience: Patience,
    /// Whether to wake a parked worker if that helps timers and sockets.
    pub(crate) rescue: bool,
}

impl WatchdogSettings {
    /// Whether anything slows down while the service is idle.
    pub(super) fn slows_down(&self) -> bool {
        self.idle_interval > self.scan_interval.max(nanos(self.tick_interval))
    }
}
