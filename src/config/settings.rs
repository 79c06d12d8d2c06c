//! The table of settings, and the check of their values.
//!
//! A new setting is a row here, a method of the builder, and a row of `docs/settings.md`.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::BuildError;
use super::limits::*;
use super::parse::{
    Expected, address, capture, duration, list, number, readiness, switch, symbols,
};
use crate::health::Readiness;
use crate::report::OnStall;
use crate::stack::{Capture, Symbols};

/// Renders a page of metrics.
#[cfg(feature = "admin")]
pub(crate) type Render = std::sync::Arc<dyn Fn() -> String + Send + Sync>;

/// Declares the settings, each in one row: field, type, default, and how its variable is read.
///
/// The variable of a setting is `TOWER_STALL_` and its name in capitals.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $default:expr, $parse:expr;)*) => {
        /// Everything that can be set.
        pub(crate) struct Settings {
            /// `false` by `TOWER_STALL=off` alone.
            pub(crate) on: bool,
            $($(#[$doc])* pub(crate) $name: $type,)*
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
                    $($name: $default,)*
                    test: false,
                    hooks: Vec::new(),
                    #[cfg(feature = "admin")]
                    prometheus: None,
                }
            }
        }

        impl Settings {
            /// The names of all settings that have a variable.
            #[cfg(test)]
            pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),*];

            /// Sets the setting of that name from text; `None` if there is none.
            ///
            /// The error says what to write instead.
            pub(crate) fn set(&mut self, name: &str, text: &str) -> Option<Result<(), Expected>> {
                match name {
                    $(stringify!($name) => {
                        let parse: fn(&str) -> Result<$type, Expected> = $parse;
                        Some(parse(text).map(|value| self.$name = value))
                    })*
                    _ => None,
                }
            }
        }

        impl fmt::Debug for Settings {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut shown = f.debug_struct("Settings");
                shown.field("on", &self.on);
                $(shown.field(stringify!($name), &self.$name);)*
                shown.finish_non_exhaustive()
            }
        }
    };
}

settings! {
    threshold: Duration = DEFAULT_THRESHOLD, duration;
    /// A quarter of the threshold unless set.
    scan_interval: Option<Duration> = None, |text| duration(text).map(Some);
    tick_interval: Duration = DEFAULT_TICK_INTERVAL, duration;
    idle_interval: Duration = DEFAULT_IDLE_INTERVAL, duration;
    history: usize = DEFAULT_HISTORY, number;
    max_handlers: usize = DEFAULT_MAX_HANDLERS, number;
    max_sites: usize = DEFAULT_MAX_SITES, number;
    capture: Capture = Capture::Auto, capture;
    capture_cpu_percent: usize = DEFAULT_CAPTURE_CPU_PERCENT, number;
    symbols: Symbols = Symbols::Auto, symbols;
    lock_holders: bool = true, switch;
    site_owns: Vec<String> = Vec::new(), list;
    site_skips: Vec<String> = Vec::new(), list;
    admin: Option<SocketAddr> = None, address;
    pages_public: bool = false, switch;
    facade: bool = false, switch;
    log_check: bool = true, switch;
    dead_after: Duration = DEFAULT_DEAD_AFTER, duration;
    unready_after: Duration = DEFAULT_UNREADY_AFTER, duration;
    ready_after: Duration = DEFAULT_READY_AFTER, duration;
    shed_after: Duration = DEFAULT_SHED_AFTER, duration;
    readiness: Readiness = Readiness::default(), readiness;
    rescue: bool = true, switch;
}

impl Settings {
    /// Whether and how stacks are taken: never without the feature `capture`.
    pub(crate) fn capture(&self) -> Capture {
        if cfg!(feature = "capture") { self.capture } else { Capture::Off }
    }

    /// The time between two scans.
    pub(crate) fn scan_interval(&self) -> Duration {
        self.scan_interval.unwrap_or(self.threshold / DEFAULT_SCANS_PER_THRESHOLD)
    }

    pub(crate) fn check(&self) -> Result<(), BuildError> {
        use BuildError::*;

        let (threshold, scan_interval) = (self.threshold, self.scan_interval());
        let without = self.admin.filter(|_| cfg!(not(feature = "admin")));
        let wrong = [
            (threshold < MIN_THRESHOLD).then_some(ThresholdTooShort(threshold)),
            scan_interval.is_zero().then_some(ScanIntervalZero),
            (scan_interval > threshold)
                .then_some(ScanIntervalAboveThreshold { scan_interval, threshold }),
            (self.tick_interval < MIN_TICK_INTERVAL)
                .then_some(TickIntervalTooShort(self.tick_interval)),
            (self.idle_interval > MAX_IDLE_INTERVAL)
                .then_some(IdleIntervalTooLong(self.idle_interval)),
            (self.history == 0).then_some(HistoryZero),
            (self.max_handlers == 0).then_some(MaxHandlersZero),
            (self.max_sites == 0).then_some(MaxSitesZero),
            (!(1..=100).contains(&self.capture_cpu_percent))
                .then_some(CaptureCpuPercentOutOfRange(self.capture_cpu_percent)),
            self.dead_after.is_zero().then_some(DeadAfterZero),
            self.unready_after.is_zero().then_some(UnreadyAfterZero),
            self.shed_after.is_zero().then_some(ShedAfterZero),
            without.map(AdminNotBuilt),
        ];
        wrong.into_iter().flatten().next().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_setting_has_a_builder_method_a_variable_and_a_row_in_the_docs() {
        let builder = include_str!("../detector/builder.rs");
        let page = include_str!("../../docs/settings.md");
        for name in Settings::NAMES {
            let method = [format!("pub fn {name}("), format!("pub fn {name}<")];
            assert!(method.iter().any(|method| builder.contains(method)), "no method {name}");
            let row = format!("| `{name}` | `TOWER_STALL_{}` |", name.to_uppercase());
            assert!(page.contains(&row), "docs/settings.md lacks {row:?}");
            let shown = format!("{:?}", Settings::default());
            assert!(shown.contains(&format!("{name}: ")), "{shown} lacks {name}");
        }
        let rows = page.lines().filter(|line| line.contains("| `TOWER_STALL_"));
        assert_eq!(rows.count(), Settings::NAMES.len(), "no row of a setting that is not there");
    }
}
