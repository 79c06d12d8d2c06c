//! Tells on standard error when the log takes no warning of ours.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use super::log::Logger;
use crate::clock::{self, Nanos};
use crate::log_status::LogStatus;
use crate::runtime::registry::Registry;
use crate::sync::{AtomicBool, Ordering, lock};
use crate::text;

/// How long a service that starts without a subscriber has to install one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a line was written. Detectors may come and go by the thousand.
static HAS_WARNED: AtomicBool = AtomicBool::new(false);

/// Asks the subscriber at the start, and again whenever a stall is told.
pub(super) struct LogCheck {
    registry: Arc<Registry>,
    /// When it is to be asked for the first time.
    due: Option<Nanos>,
    /// Whether a line on standard error is allowed.
    may_warn: bool,
}

impl LogCheck {
    pub(super) fn new(registry: Arc<Registry>, logger: &Logger, may_warn: bool) -> Self {
        let patience = if logger.has_subscriber() { 0 } else { clock::nanos(PATIENCE) };
        Self { registry, due: Some(clock::now() + patience), may_warn }
    }

    pub(super) fn due(&self) -> Option<Nanos> {
        self.due
    }

    pub(super) fn check_if_due(&mut self, logger: &Logger, now: Nanos) {
        if self.due.is_some_and(|due| due <= now) {
            self.check(logger);
        }
    }

    pub(super) fn check(&mut self, logger: &Logger) {
        self.due = None;
        let status = logger.status();
        *lock(&self.registry.log_status) = status;
        let Some(notice) = text::log_notice(status).filter(|_| self.may_warn) else { return };
        if HAS_WARNED.swap(true, Ordering::Relaxed) {
            return;
        }
        // Nothing can be done where standard error is closed.
        let _ = writeln!(io::stderr(), "tower-stall: {notice} ({})", text::LOG_CHECK_OFF);
    }
}

impl Logger {
    fn status(&self) -> LogStatus {
        if !self.has_subscriber() {
            return LogStatus::NoSubscriber;
        }
        let mut status = LogStatus::FilteredOut;
        self.write(|| {
            if tracing::enabled!(target: "tower_stall", tracing::Level::WARN) {
                status = LogStatus::Taken;
            }
        });
        status
    }
}

#[cfg(test)]
mod tests {
    use tracing::subscriber::with_default;
    use tracing_subscriber::EnvFilter;

    use super::*;
    use crate::runtime::registry::LIMITS;

    /// What a detector finds that starts with a subscriber of this filter.
    fn status_under(filter: &str) -> LogStatus {
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(filter))
            .with_writer(io::sink)
            .finish();
        let registry = Registry::new(LIMITS);
        let logger = with_default(subscriber, Logger::new);
        let mut check = LogCheck::new(Arc::clone(&registry), &logger, false);
        assert_eq!(*lock(&registry.log_status), LogStatus::Unknown);
        check.check_if_due(&logger, clock::now());
        assert!(check.due().is_none());
        *lock(&registry.log_status)
    }

    #[test]
    fn the_filter_is_asked_for_our_target() {
        for filter in ["info", "app=debug,tower_stall=warn", "warn,tower_http=debug"] {
            assert_eq!(status_under(filter), LogStatus::Taken, "{filter}");
        }
        for filter in ["app=debug,tower_http=debug", "error", "info,tower_stall=off"] {
            assert_eq!(status_under(filter), LogStatus::FilteredOut, "{filter}");
        }
    }

    #[test]
    fn a_service_has_some_time_to_install_a_subscriber() {
        let registry = Registry::new(LIMITS);
        let logger = Logger::new();
        let mut check = LogCheck::new(Arc::clone(&registry), &logger, false);
        check.check_if_due(&logger, clock::now());
        assert_eq!(*lock(&registry.log_status), LogStatus::Unknown);
        check.check_if_due(&logger, clock::now() + clock::nanos(PATIENCE));
        assert_eq!(*lock(&registry.log_status), LogStatus::NoSubscriber);
    }
}
