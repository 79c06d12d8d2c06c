//! The settings, checked.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::Builder;
use crate::capture::Capture;
use crate::clock::nanos;
use crate::error::BuildError;
use crate::health::Readiness;
use crate::report::OnStall;
use crate::watchdog::{Guardian, Patience};

/// Whether a runtime is helped out of a freeze where a task of ours does it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rescue {
    /// It is.
    #[default]
    On,
    /// It is left alone.
    Off,
}

/// Everything that can be set.
pub(crate) struct Settings {
    /// `false` by `TOWER_STALL=off` alone.
    pub(super) on: bool,
    pub(super) threshold: Duration,
    /// A quarter of the threshold unless set.
    pub(super) scan: Option<Duration>,
    pub(super) tick: Duration,
    pub(super) ring: usize,
    pub(super) handlers: usize,
    pub(super) sites: usize,
    pub(super) capture: Capture,
    pub(super) site_skips: Vec<String>,
    pub(super) admin: Option<SocketAddr>,
    pub(super) pages_public: bool,
    pub(super) facade: bool,
    pub(super) dead_after: Duration,
    pub(super) unready_after: Duration,
    pub(super) ready_after: Duration,
    pub(super) shed_after: Duration,
    pub(super) readiness: Readiness,
    pub(super) rescue: Rescue,
    /// For a test: no metrics go anywhere, and marked polls count on all threads.
    pub(super) test: bool,
    pub(super) hooks: Vec<Box<dyn OnStall>>,
    #[cfg(feature = "admin")]
    pub(super) prometheus: Option<metrics_exporter_prometheus::PrometheusHandle>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on: true,
            threshold: Builder::DEFAULT_THRESHOLD,
            scan: None,
            tick: Builder::DEFAULT_TICK,
            ring: Builder::DEFAULT_RING,
            handlers: Builder::DEFAULT_HANDLERS,
            sites: Builder::DEFAULT_SITES,
            capture: Capture::Auto,
            site_skips: Vec::new(),
            admin: None,
            pages_public: false,
            facade: false,
            dead_after: Builder::DEFAULT_DEAD_AFTER,
            unready_after: Builder::DEFAULT_UNREADY_AFTER,
            ready_after: Builder::DEFAULT_READY_AFTER,
            shed_after: Builder::DEFAULT_SHED_AFTER,
            readiness: Readiness::default(),
            rescue: Rescue::default(),
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
    pub(super) fn capture(&self) -> Capture {
        if cfg!(feature = "capture") { self.capture } else { Capture::Off }
    }

    /// The time between two scans.
    pub(super) fn scan(&self) -> Duration {
        self.scan.unwrap_or(self.threshold / Builder::DEFAULT_SCANS_IN_THRESHOLD)
    }

    /// What to do about freezes.
    pub(super) fn guardian(&self) -> Guardian {
        let patience = Patience {
            dead_after: nanos(self.dead_after),
            unready_after: nanos(self.unready_after),
            ready_after: nanos(self.ready_after),
            shed_after: nanos(self.shed_after),
        };
        Guardian { patience, rescues: self.rescue == Rescue::On }
    }

    pub(super) fn check(&self) -> Result<(), BuildError> {
        let (threshold, scan) = (self.threshold, self.scan());
        if threshold < Builder::MIN_THRESHOLD {
            return Err(BuildError::ThresholdTooShort(threshold));
        }
        if scan.is_zero() {
            return Err(BuildError::ScanZero);
        }
        if scan > threshold {
            return Err(BuildError::ScanAboveThreshold { scan, threshold });
        }
        if self.tick < Builder::MIN_TICK {
            return Err(BuildError::TickTooShort(self.tick));
        }
        if self.ring == 0 {
            return Err(BuildError::RingZero);
        }
        if self.handlers == 0 {
            return Err(BuildError::HandlersZero);
        }
        if self.sites == 0 {
            return Err(BuildError::SitesZero);
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
            .field("scan", &self.scan())
            .field("tick", &self.tick)
            .field("ring", &self.ring)
            .field("handlers", &self.handlers)
            .field("sites", &self.sites)
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
