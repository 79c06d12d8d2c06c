//! What the watchdog is told at its start.

use std::time::Duration;

use super::rules::health::Patience;
use crate::clock::Nanos;

/// How often to scan, and what to do about freezes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WatchdogSettings {
    pub(crate) scan_interval: Nanos,
    pub(crate) tick_interval: Duration,
    pub(crate) patience: Patience,
    /// Runtimes are woken where that helps their timers and sockets.
    pub(crate) rescue: bool,
}
