//! The settings, checked.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::BuildError;
use crate::health::Readiness;
use crate::labels;
use crate::report::OnStall;
use crate::stack::Capture;

pub(crate) const DEFAULT_THRESHOLD: Duration = Duration::from_millis(100);
pub(crate) const MIN_THRESHOLD: Duration = labels::MIN_THRESHOLD;
pub(crate) const DEFAULT_SCANS_PER_THRESHOLD: u32 = 4;
pub(crate) const DEFAULT_TICK_INTERVAL: Duration = Duration::from_millis(25);
pub(crate) const MIN_TICK_INTERVAL: Duration = Duration::from_millis(1);
pub(crate) const DEFAULT_HISTORY: usize = 256;
pub(crate) const DEFAULT_MAX_SITES: usize = 64;
pub(crate) const DEFAULT_MAX_HANDLERS: usize = 128;
pub(crate) const DEFAULT_DEAD_AFTER: Duration = Duration::from_secs(60);
pub(crate) const DEFAULT_UNREADY_AFTER: Duration = Duration::from_secs(1);
pub(crate) const DEFAULT_READY_AFTER: Duration = Duration::from_secs(2);
pub(crate) const DEFAULT_SHED_AFTER: Duration = Duration::from_millis(500);

/// Renders a page of metrics.
pub(crate) type Render = std::sync::Arc<dyn Fn() -> String + Send + Sync>;

/// Everything that can be set.
pub(crate) struct Settings {
    /// `false` by `TOWER_STALL=off` alone.
    pub(crate) on: bool,
    pub(crate) threshold: Duration,
    /// A quarter of the threshold unless set.
    pub(crate) scan_interval: Option<Duration>,
    pub(crate) tick_interval: Duration,
    pub(crate) history: usize,
    pub(crate) max_handlers: usize,
    pub(crate) max_sites: usize,
    pub(crate) capture: Capture,
    pub(crate) site_skips: Vec<String>,
    pub(crate) admin: Option<SocketAddr>,
    pub(crate) pages_public: bool,
    pub(crate) facade: bool,
    pub(crate) dead_after: Duration,
    pub(crate) unready_after: Duration,
    pub(crate) ready_after: Duration,
    pub(crate) shed_after: Duration,
    pub(crate) readiness: Readiness,
    pub(crate) rescue: bool,
    /// For a test: no metrics go anywhere, and marked polls count on all threads.
    pub(crate) test: bool,
    pub(crate) hooks: Vec<Box<dyn OnStall>>,
    #[cfg(feature = "admin")]
    pub(crate) prometheus: Option<Render>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on: true,
            threshold: DEFAULT_THRESHOLD,
            scan_interval: None,
            tick_interval: DEFAULT_TICK_INTERVAL,
            history: DEFAULT_HISTORY,
            max_handlers: DEFAULT_MAX_HANDLERS,
            max_sites: DEFAULT_MAX_SITES,
            capture: Capture::Auto,
            site_skips: Vec::new(),
            admin: None,
            pages_public: false,
            facade: false,
            dead_after: DEFAULT_DEAD_AFTER,
            unready_after: DEFAULT_UNREADY_AFTER,
            ready_after: DEFAULT_READY_AFTER,
            shed_after: DEFAULT_SHED_AFTER,
            readiness: Readiness::default(),
            rescue: true,
            test: false,
            hooks: Vec::new(),
            #[cfg(feature = "admin")]
            prometheus: None,
        }
    }
}

impl Settings {
    /// Nothing is watched.
    pub(crate) fn off() -> Self {
        Self { on: false, ..Self::default() }
    }

    /// Whether, and how, stacks are taken: not at all by what was built without.
    pub(crate) fn capture(&self) -> Capture {
        if cfg!(feature = "capture") { self.capture } else { Capture::Off }
    }

    /// The time between two scans.
    pub(crate) fn scan_interval(&self) -> Duration {
        self.scan_interval.unwrap_or(self.threshold / DEFAULT_SCANS_PER_THRESHOLD)
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        let (threshold, scan_interval) = (self.threshold, self.scan_interval());
        if threshold < MIN_THRESHOLD {
            return Err(BuildError::ThresholdTooShort(threshold));
        }
        if scan_interval.is_zero() {
            return Err(BuildError::ScanIntervalZero);
        }
        if scan_interval > threshold {
            return Err(BuildError::ScanIntervalAboveThreshold { scan_interval, threshold });
        }
        if self.tick_interval < MIN_TICK_INTERVAL {
            return Err(BuildError::TickIntervalTooShort(self.tick_interval));
        }
        if self.history == 0 {
            return Err(BuildError::HistoryZero);
        }
        if self.max_handlers == 0 {
            return Err(BuildError::MaxHandlersZero);
        }
        if self.max_sites == 0 {
            return Err(BuildError::MaxSitesZero);
        }
        if self.dead_after.is_zero() {
            return Err(BuildError::DeadAfterZero);
        }
        if self.unready_after.is_zero() {
            return Err(BuildError::UnreadyAfterZero);
        }
        if self.shed_after.is_zero() {
            return Err(BuildError::ShedAfterZero);
        }
        match self.admin {
            Some(address) if cfg!(not(feature = "admin")) => {
                Err(BuildError::AdminNotBuilt(address))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("on", &self.on)
            .field("threshold", &self.threshold)
            .field("scan_interval", &self.scan_interval())
            .field("tick_interval", &self.tick_interval)
            .field("history", &self.history)
            .field("max_handlers", &self.max_handlers)
            .field("max_sites", &self.max_sites)
            .field("capture", &self.capture)
            .field("site_skips", &self.site_skips)
            .field("admin", &self.admin)
            .field("pages_public", &self.pages_public)
            .field("facade", &self.facade)
            .field("dead_after", &self.dead_after)
            .field("unready_after", &self.unready_after)
            .field("ready_after", &self.ready_after)
            .field("shed_after", &self.shed_after)
            .field("readiness", &self.readiness)
            .field("rescue", &self.rescue)
            .finish_non_exhaustive()
    }
}
