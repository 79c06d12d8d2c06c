//! The defaults and minima of the settings, each written once.

use std::time::Duration;

use crate::labels;

pub(crate) const DEFAULT_THRESHOLD: Duration = Duration::from_millis(100);
pub(crate) const MIN_THRESHOLD: Duration = labels::MIN_THRESHOLD;
pub(crate) const DEFAULT_SCANS_PER_THRESHOLD: u32 = 4;
pub(crate) const DEFAULT_TICK_INTERVAL: Duration = Duration::from_millis(25);
pub(crate) const MIN_TICK_INTERVAL: Duration = Duration::from_millis(1);
pub(crate) const DEFAULT_IDLE_INTERVAL: Duration = Duration::from_millis(500);
pub(crate) const MAX_IDLE_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const DEFAULT_HISTORY: usize = 256;
pub(crate) const DEFAULT_MAX_SITES: usize = 64;
pub(crate) const DEFAULT_MAX_HANDLERS: usize = 128;
pub(crate) const DEFAULT_CAPTURE_CPU_PERCENT: usize = 1;
pub(crate) const DEFAULT_DEAD_AFTER: Duration = Duration::from_secs(60);
pub(crate) const DEFAULT_UNREADY_AFTER: Duration = Duration::from_secs(1);
pub(crate) const DEFAULT_READY_AFTER: Duration = Duration::from_secs(2);
pub(crate) const DEFAULT_SHED_AFTER: Duration = Duration::from_millis(500);
