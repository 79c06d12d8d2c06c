//! The builder.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::Handle;

use super::detector::StallDetector;
use super::start::{launch, registry};
use crate::config::{BuildError, Settings, limits};
use crate::health::Readiness;
use crate::report::OnStall;
use crate::stack::{Capture, Symbols};

/// Sets up a detector. Made by [`StallDetector::builder`].
///
/// Each setting can be overridden by an environment variable, `TOWER_STALL_` and the setter's
/// name in capitals, with durations as `100ms` or `60s`, addresses as `127.0.0.1:9099`, switches
/// as `true` or `false` (also `on` or `off`). `TOWER_STALL=off` stops detection altogether.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    settings: Settings,
}

impl StallDetector {
    /// Settings with their defaults, to be changed and started.
    pub fn builder() -> Builder {
        Builder::default()
    }
}

impl Builder {
    /// Default for [`threshold`](Self::threshold): 100 ms.
    pub const DEFAULT_THRESHOLD: Duration = limits::DEFAULT_THRESHOLD;
    /// Minimum for [`threshold`](Self::threshold): 1 ms.
    pub const MIN_THRESHOLD: Duration = limits::MIN_THRESHOLD;
    /// Scans in the time of a threshold, unless [`scan_interval`](Self::scan_interval) is set: 4.
    pub const DEFAULT_SCANS_PER_THRESHOLD: u32 = limits::DEFAULT_SCANS_PER_THRESHOLD;
    /// Default for [`tick_interval`](Self::tick_interval): 25 ms.
    pub const DEFAULT_TICK_INTERVAL: Duration = limits::DEFAULT_TICK_INTERVAL;
    /// Minimum for [`tick_interval`](Self::tick_interval): 1 ms, the resolution of Tokio's timers.
    pub const MIN_TICK_INTERVAL: Duration = limits::MIN_TICK_INTERVAL;
    /// Default for [`idle_interval`](Self::idle_interval): 500 ms.
    pub const DEFAULT_IDLE_INTERVAL: Duration = limits::DEFAULT_IDLE_INTERVAL;
    /// Maximum for [`idle_interval`](Self::idle_interval): 10 s.
    pub const MAX_IDLE_INTERVAL: Duration = limits::MAX_IDLE_INTERVAL;
    /// Default for [`history`](Self::history): 256 stalls.
    pub const DEFAULT_HISTORY: usize = limits::DEFAULT_HISTORY;
    /// Default for [`max_sites`](Self::max_sites): 64.
    pub const DEFAULT_MAX_SITES: usize = limits::DEFAULT_MAX_SITES;
    /// Default for [`max_handlers`](Self::max_handlers): 128.
    pub const DEFAULT_MAX_HANDLERS: usize = limits::DEFAULT_MAX_HANDLERS;
    /// Default for [`capture_cpu_percent`](Self::capture_cpu_percent): 1 % of a core.
    pub const DEFAULT_CAPTURE_CPU_PERCENT: usize = limits::DEFAULT_CAPTURE_CPU_PERCENT;
    /// Default for [`dead_after`](Self::dead_after): 60 s.
    pub const DEFAULT_DEAD_AFTER: Duration = limits::DEFAULT_DEAD_AFTER;
    /// Default for [`unready_after`](Self::unready_after): 1 s.
    pub const DEFAULT_UNREADY_AFTER: Duration = limits::DEFAULT_UNREADY_AFTER;
    /// Default for [`ready_after`](Self::ready_after): 2 s.
    pub const DEFAULT_READY_AFTER: Duration = limits::DEFAULT_READY_AFTER;
    /// Default for [`shed_after`](Self::shed_after): 500 ms.
    pub const DEFAULT_SHED_AFTER: Duration = limits::DEFAULT_SHED_AFTER;

    /// How long a poll may take before it is a stall.
    ///
    /// A shorter threshold finds more and costs more scans. A threshold longer than your users
    /// notice is too long.
    ///
    /// Defaults to [`DEFAULT_THRESHOLD`](Self::DEFAULT_THRESHOLD), at least
    /// [`MIN_THRESHOLD`](Self::MIN_THRESHOLD).
    pub fn threshold(mut self, threshold: Duration) -> Self {
        self.settings.threshold = threshold;
        self
    }

    /// Time between two scans of the watchdog, give or take a fifth.
    ///
    /// The start and the duration of a stall are known to within one interval. A shorter interval is
    /// more exact and wakes the watchdog thread more often.
    ///
    /// It must be above zero and at most the [`threshold`](Self::threshold).
    ///
    /// Defaults to the threshold divided by
    /// [`DEFAULT_SCANS_PER_THRESHOLD`](Self::DEFAULT_SCANS_PER_THRESHOLD).
    pub fn scan_interval(mut self, scan_interval: Duration) -> Self {
        self.settings.scan_interval = Some(scan_interval);
        self
    }

    /// Time between two ticks on each watched runtime.
    ///
    /// A shorter interval measures event-loop lag more finely and wakes the runtime more often.
    ///
    /// Defaults to [`DEFAULT_TICK_INTERVAL`](Self::DEFAULT_TICK_INTERVAL), at least [`MIN_TICK_INTERVAL`](Self::MIN_TICK_INTERVAL).
    pub fn tick_interval(mut self, tick_interval: Duration) -> Self {
        self.settings.tick_interval = tick_interval;
        self
    }

    /// Time between two ticks, and between two scans, while the service is idle.
    ///
    /// The service is idle when for one second all workers were parked at each scan, no marked poll was
    /// open or began, and nothing was stalled or frozen. The next marked poll wakes the watchdog, once,
    /// and all is as before: that poll is found as fast as any. What no mark shows, such as a plain task
    /// that blocks, is seen at the next scan, up to one idle interval later.
    ///
    /// An interval that is not longer than [`scan_interval`](Self::scan_interval) and
    /// [`tick_interval`](Self::tick_interval), such as 0, keeps their pace.
    ///
    /// Defaults to [`DEFAULT_IDLE_INTERVAL`](Self::DEFAULT_IDLE_INTERVAL), at most
    /// [`MAX_IDLE_INTERVAL`](Self::MAX_IDLE_INTERVAL).
    pub fn idle_interval(mut self, idle_interval: Duration) -> Self {
        self.settings.idle_interval = idle_interval;
        self
    }

    /// How many of the last stalls [`StallDetector::stalls`] remembers; at least 1.
    ///
    /// Defaults to [`DEFAULT_HISTORY`](Self::DEFAULT_HISTORY).
    pub fn history(mut self, history: usize) -> Self {
        self.settings.history = history;
        self
    }

    /// How many handlers have a label of their own; further ones share `other`.
    ///
    /// Each handler has at least one time series. A handler that stalls has two more for each cause.
    ///
    /// Defaults to [`DEFAULT_MAX_HANDLERS`](Self::DEFAULT_MAX_HANDLERS).
    pub fn max_handlers(mut self, max_handlers: usize) -> Self {
        self.settings.max_handlers = max_handlers;
        self
    }

    /// Whether and how the stack of a blocked thread is taken.
    ///
    /// Stacks need the feature `capture` and x86_64 or aarch64 Linux.
    ///
    /// Defaults to [`Capture::Auto`].
    pub fn capture(mut self, capture: Capture) -> Self {
        self.settings.capture = capture;
        self
    }

    /// How much CPU time stacks and their names may cost in the long run, in percent of one core;
    /// 1 to 100.
    ///
    /// Up to two seconds of CPU time are saved up while no stack is taken; 20 with `debug-assertions`, as in a
    /// debug build, where the same names take more than ten times as long. Once they are spent, a
    /// stall has no stack, and [`Stall::last_seen`](crate::Stall::last_seen) says where the last one
    /// of the same kind was.
    ///
    /// Defaults to [`DEFAULT_CAPTURE_CPU_PERCENT`](Self::DEFAULT_CAPTURE_CPU_PERCENT).
    pub fn capture_cpu_percent(mut self, percent: usize) -> Self {
        self.settings.capture_cpu_percent = percent;
        self
    }

    /// What the frames of stacks show.
    ///
    /// Defaults to [`Symbols::Auto`].
    pub fn symbols(mut self, symbols: Symbols) -> Self {
        self.settings.symbols = symbols;
        self
    }

    /// How many sites (with their handlers and causes) have series of their own in
    /// `tokio_stall_site_seconds_total`; further ones share `other`.
    ///
    /// Defaults to [`DEFAULT_MAX_SITES`](Self::DEFAULT_MAX_SITES).
    pub fn max_sites(mut self, max_sites: usize) -> Self {
        self.settings.max_sites = max_sites;
        self
    }

    /// Crates whose code is not your own.
    ///
    /// The site of a stall is the first frame outside of these crates, the standard library and the
    /// crates that cargo has fetched.
    ///
    /// Defaults to none. The variable takes names separated by commas.
    pub fn site_skips<I>(mut self, crates: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.settings.site_skips = crates.into_iter().map(Into::into).collect();
        self
    }

    /// Crates whose code is your own, beside the program's.
    ///
    /// Debug information tells your own crates by their files. Without it only the crate with `main` is
    /// known to be your own, and these.
    ///
    /// Defaults to none. The variable takes names separated by commas.
    pub fn site_owns<I>(mut self, crates: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.settings.site_owns = crates.into_iter().map(Into::into).collect();
        self
    }

    /// Time a runtime may be frozen before `/livez` fails and the process is restarted.
    ///
    /// A runtime is frozen while its ticks do not come through, or while all its workers are stalled.
    /// Time in which the process could not run does not count. A runtime that still polls a new task
    /// is alive.
    ///
    /// Defaults to [`DEFAULT_DEAD_AFTER`](Self::DEFAULT_DEAD_AFTER).
    pub fn dead_after(mut self, time: Duration) -> Self {
        self.settings.dead_after = time;
        self
    }

    /// Time a runtime may be frozen before `/readyz` fails and no more requests are sent.
    ///
    /// Values below [`threshold`](Self::threshold) act like `threshold`.
    ///
    /// Defaults to [`DEFAULT_UNREADY_AFTER`](Self::DEFAULT_UNREADY_AFTER).
    pub fn unready_after(mut self, time: Duration) -> Self {
        self.settings.unready_after = time;
        self
    }

    /// Time without a freeze before `/readyz` succeeds again.
    ///
    /// Defaults to [`DEFAULT_READY_AFTER`](Self::DEFAULT_READY_AFTER).
    pub fn ready_after(mut self, time: Duration) -> Self {
        self.settings.ready_after = time;
        self
    }

    /// What makes the process not ready.
    ///
    /// Defaults to [`Readiness::Freezes`]; in the variable `freezes` or `start-and-drain`.
    pub fn readiness(mut self, readiness: Readiness) -> Self {
        self.settings.readiness = readiness;
        self
    }

    /// Time a runtime may be frozen before [`shed_layer`](StallDetector::shed_layer) turns requests
    /// away.
    ///
    /// Requests are let in again at the first tick that is less than half as late.
    ///
    /// Defaults to [`DEFAULT_SHED_AFTER`](Self::DEFAULT_SHED_AFTER).
    pub fn shed_after(mut self, time: Duration) -> Self {
        self.settings.shed_after = time;
        self
    }

    /// Whether, of a stall that waits for a lock, the thread is looked for that holds it.
    ///
    /// Other threads that wait are read from outside, at most 128 of them and for at most 50 ms of CPU time, when a
    /// stall whose cause is `lock` is counted and each time it has doubled its length, until there is an answer.
    /// Of those that compute four at most get a signal for their stacks, and only if they have the name of
    /// the thread that waits, as the threads of one runtime do. It counts as CPU time for stacks, and stacks of
    /// other stalls go before it. See [`Stall::held_by`](crate::Stall::held_by).
    ///
    /// Defaults to `true`. Without the feature `capture`, and beside x86_64, no holder of a lock is found.
    pub fn lock_holders(mut self, lock_holders: bool) -> Self {
        self.settings.lock_holders = lock_holders;
        self
    }

    /// Whether a parked worker is woken when a blocked one holds up the runtime's timers and sockets.
    ///
    /// The worker that drives timers and sockets may be the one that blocks. Tokio does not always
    /// wake another worker to take over: then nothing comes in although workers are parked. When a
    /// tick is two intervals overdue and a worker is parked, the detector spawns one small task, which
    /// wakes that worker. A rescue is counted in `tower_stall_rescues_total` and logged once for each
    /// stall. It does not free the task that the blocked worker was to poll next.
    ///
    /// Defaults to `true`.
    pub fn rescue(mut self, rescue: bool) -> Self {
        self.settings.rescue = rescue;
        self
    }

    /// Serves `/metrics`, `/livez`, `/readyz` and the page of stalls, `/stalls`, at this address.
    ///
    /// A thread of its own answers, also while every worker is blocked, one request on each connection. It
    /// has 256 places: where none is free, the address with the most connections loses one to who comes
    /// next. Port 0 takes a free port; see [`StallDetector::admin_addr`]. There is no TLS and no authentication: bind it to loopback, or
    /// to an address that only your scraper and probes reach. The metrics go there and nowhere else,
    /// unless [`facade`](Self::facade) is set.
    ///
    /// Defaults to none.
    pub fn admin(mut self, address: impl Into<SocketAddr>) -> Self {
        self.settings.admin = Some(address.into());
        self
    }

    /// Shows the pages `/stalls`, `/stalls.json` and `/flamegraph.svg`, profiles, and the reasons of `/livez`
    /// and `/readyz`, to whoever reaches [`admin`](Self::admin)'s port.
    ///
    /// They name functions, files, peers and lines of source. With `false` they are shown only on
    /// connections to a loopback address with a loopback or `localhost` Host header, as
    /// `kubectl port-forward` and SSH tunnels make them, and not to requests that a proxy forwards (with a
    /// header `Forwarded`, `X-Forwarded-…`, `X-Real-IP` or `Via`). Metrics, and the status of probes, are
    /// for all.
    ///
    /// Defaults to `false`.
    pub fn pages_public(mut self, public: bool) -> Self {
        self.settings.pages_public = public;
        self
    }

    /// Whether the metrics go to the recorder of the `metrics` facade although
    /// [`admin`](Self::admin) is set; `/metrics` then has none of them.
    ///
    /// Without `admin` they always go to the facade. Give the recorder the buckets of
    /// [`HISTOGRAM_BUCKETS`](crate::HISTOGRAM_BUCKETS). A recorder that blocks delays only the log
    /// and the hooks.
    ///
    /// Defaults to `false`.
    pub fn facade(mut self, facade: bool) -> Self {
        self.settings.facade = facade;
        self
    }

    /// Whether one line on standard error says so when the log takes none of our warnings: when no `tracing`
    /// subscriber is installed within 10 s of the start or at the first stall, or its filter drops the target
    /// `tower_stall`. It is written once in a process.
    ///
    /// The page, `/livez?format=json` and [`HealthReport::notices`](crate::HealthReport::notices) say so in
    /// any case. Set it to `false` where the log is not wanted, or where events go to the `log` crate without
    /// a subscriber.
    ///
    /// Defaults to `true`.
    pub fn log_check(mut self, log_check: bool) -> Self {
        self.settings.log_check = log_check;
        self
    }

    /// Puts metrics of your own in front of the detector's at [`admin`](Self::admin)'s `/metrics`.
    ///
    /// `render` returns them in Prometheus' text format.
    ///
    /// ```
    /// # fn with(handle: metrics_exporter_prometheus::PrometheusHandle) {
    /// let builder = tower_stall::StallDetector::builder()
    ///     .admin(([127, 0, 0, 1], 9099))
    ///     .prometheus(move || handle.render());
    /// # drop(builder);
    /// # }
    /// ```
    ///
    /// It is called for each scrape, on the thread of the admin server. If it panics, the scrape is
    /// answered with 500.
    ///
    /// Defaults to none.
    #[cfg(feature = "admin")]
    pub fn prometheus(mut self, render: impl Fn() -> String + Send + Sync + 'static) -> Self {
        self.settings.prometheus = Some(std::sync::Arc::new(render));
        self
    }

    /// Calls `hook` when a stall is counted and when it has ended; see [`OnStall`].
    ///
    /// Hooks add up and are called in the order in which they were added. A hook chosen at run time is
    /// given as a `Box<dyn OnStall>`.
    pub fn on_stall(mut self, hook: impl OnStall) -> Self {
        self.settings.hooks.push(Box::new(hook));
        self
    }

    /// Starts to watch the runtime it is called in, under the name `main`.
    ///
    /// Runtimes on which marked futures show up later are watched too, as `runtime-2`,
    /// `runtime-3`, …; see [`StallDetector::watch`] for names of your own. The log goes to the
    /// `tracing` subscriber that is the default here.
    ///
    /// On a multi-thread runtime it waits for a short task on each worker, usually for less than a
    /// millisecond: from then on it is known which threads run them. For those that are busy it waits 20 ms at
    /// most, for those that sleep 50 ms.
    ///
    /// # Errors
    ///
    /// [`BuildError`] names the setting, its value and what to write instead. A detector that has
    /// started never fails the service.
    pub fn start(mut self) -> Result<StallDetector, BuildError> {
        self.settings.apply_environment()?;
        let runtime = match Handle::try_current() {
            Ok(runtime) => Some(runtime),
            Err(_) if !self.settings.on => None,
            Err(_) => return Err(BuildError::NoRuntime),
        };
        launch(registry(&self.settings, None), self.settings, runtime)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_setting_has_its_own_clear_error() {
        type Set = fn(Builder) -> Builder;
        let ms = Duration::from_millis;
        let cases: [(Set, &str); 13] = [
            (|builder| builder.threshold(Duration::from_micros(999)), "threshold is 999µs"),
            (|builder| builder.scan_interval(Duration::ZERO), "scan_interval is 0"),
            (|builder| builder.scan_interval(Duration::from_millis(101)), "scan_interval is 101ms"),
            (|builder| builder.tick_interval(Duration::ZERO), "tick_interval is 0ns"),
            (|builder| builder.idle_interval(Duration::from_secs(11)), "idle_interval is 11s"),
            (|builder| builder.history(0), "history is 0"),
            (|builder| builder.max_handlers(0), "max_handlers is 0"),
            (|builder| builder.max_sites(0), "max_sites is 0"),
            (|builder| builder.capture_cpu_percent(0), "capture_cpu_percent is 0"),
            (|builder| builder.capture_cpu_percent(101), "capture_cpu_percent is 101"),
            (|builder| builder.dead_after(Duration::ZERO), "dead_after is 0"),
            (|builder| builder.unready_after(Duration::ZERO), "unready_after is 0"),
            (|builder| builder.shed_after(Duration::ZERO), "shed_after is 0"),
        ];
        for (set, says) in cases {
            let error = set(Builder::default()).settings.check().expect_err(says).to_string();
            assert!(error.starts_with(says), "{error}");
            assert!(error.contains(": use "), "{error:?} says what to write instead");
        }
        let fine = Builder::default()
            .threshold(ms(1))
            .scan_interval(ms(1))
            .tick_interval(ms(1))
            .history(1)
            .max_handlers(1);
        assert!(fine.settings.check().is_ok());
    }
}
