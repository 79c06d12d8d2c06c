//! The detector of a test: its settings, and a wait for everything that it may still find.

use std::time::Duration;

use tokio::runtime::Handle;

use super::detector::StallDetector;
use super::start::{launch, registry};
use crate::clock::{self, Nanos, nanos};
use crate::config::BuildError;
use crate::config::{Settings, variables};
use crate::report::OnStall;
use crate::stack::Capture;

/// Time between two looks at the scan barrier. A scan takes microseconds, once the watchdog has a CPU.
const LOOK: Duration = Duration::from_micros(100);

impl StallDetector {
    /// Starts a detector for one test, on the runtime of `handle`.
    pub(crate) fn of_test(
        threshold: Duration,
        handle: Handle,
        hook: impl OnStall,
    ) -> Result<Self, BuildError> {
        let mut settings = Settings::default();
        settings.apply(variables())?;
        // Of the environment only whether stalls are looked for, and how stacks are taken and read.
        let Settings { on, capture, site_skips, site_owns, .. } = settings;
        let of_test = Settings { on, capture, site_skips, site_owns, ..Settings::default() };
        settings = Settings { threshold, test: true, ..of_test };
        settings.hooks.push(Box::new(hook));
        settings.check()?;
        launch(registry(&settings, None), settings, Some(handle))
    }

    /// Whether it is not switched off.
    pub(crate) fn is_watching(&self) -> bool {
        self.threads().watchdog.is_some()
    }

    /// Whether each stall will have a stack, or a reason why not.
    pub(crate) fn takes_stacks(&self) -> bool {
        self.is_watching() && self.registry().capture != Capture::Off.as_str()
    }

    /// Waits, for `limit` at most, until it is known of each poll that has been open until now
    /// whether it is a stall. Where none is in doubt that takes one scan, which comes at once.
    ///
    /// Returns the time by which each of them had been seen.
    pub(crate) fn settle(&self, limit: Duration) -> Nanos {
        let over = clock::now() + nanos(limit);
        let mut seen = None;
        loop {
            let scan = self.registry().scan_barrier.want();
            match &self.threads().watchdog {
                Some(watchdog) => watchdog.unpark(),
                None => break,
            }
            while !self.registry().scan_barrier.is_done(scan) && clock::now() < over {
                std::thread::sleep(LOOK);
            }
            let seen = *seen.get_or_insert_with(clock::now);
            if !self.registry().scan_barrier.is_undecided(seen) || clock::now() >= over {
                break;
            }
            std::thread::sleep(LOOK * 10);
        }
        seen.unwrap_or_else(clock::now)
    }
}
