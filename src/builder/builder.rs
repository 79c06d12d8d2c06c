//! The builder.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::runtime::Handle;

use super::{Rescue, Settings, StallDetector, environment};
use crate::capture::Capture;
use crate::detector::markers::MIN_THRESHOLD;
use crate::error::BuildError;
use crate::health::Readiness;
use crate::report::OnStall;

/// Sets up a detector. Made by [`StallDetector::builder`].
///
/// Each setting can be overridden by an environment variable, `TOWER_STALL_` and the setter's
/// name in capitals, with durations as `100ms` or `60s`, addresses as `127.0.0.1:9099`, switches
/// as `on` or `off`. `TOWER_STALL=off` stops detection altogether.
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    settings: Settings,
}

impl Builder {
    /// A poll that takes longer is a stall: [`threshold`](Self::threshold).
    pub const DEFAULT_THRESHOLD: Duration = Duration::from_millis(100);
    /// The shortest [`threshold`](Self::threshold).
    pub const MIN_THRESHOLD: Duration = MIN_THRESHOLD;
    /// Unless [`scan`](Self::scan) is set, this many scans happen in the time of a threshold.
    pub const DEFAULT_SCANS_IN_THRESHOLD: u32 = 4;
    /// Time between two ticks: [`tick`](Self::tick).
    pub const DEFAULT_TICK: Duration = Duration::from_millis(25);
    /// The shortest [`tick`](Self::tick), the resolution of Tokio's timers.
    pub const MIN_TICK: Duration = Duration::from_millis(1);
    /// Stalls kept: [`ring`](Self::ring).
    pub const DEFAULT_RING: usize = 256;
    /// Sites with series of their own: [`sites`](Self::sites).
    pub const DEFAULT_SITES: usize = 64;
    /// Handlers with a label of their own: [`handlers`](Self::handlers).
    pub const DEFAULT_HANDLERS: usize = 128;

    /// A freeze that long wants a restart: [`dead_after`](Self::dead_after).
    pub const DEFAULT_DEAD_AFTER: Duration = Duration::from_secs(60);
    /// A freeze that long wants no requests: [`unready_after`](Self::unready_after).
    pub const DEFAULT_UNREADY_AFTER: Duration = Duration::from_secs(1);
    /// That long without a freeze is well again: [`ready_after`](Self::ready_after).
    pub const DEFAULT_READY_AFTER: Duration = Duration::from_secs(2);
    /// A freeze that long turns requests away: [`shed_after`](Self::shed_after).
    pub const DEFAULT_SHED_AFTER: Duration = Duration::from_millis(500);

    /// How long a poll may take before it is a stall.
    ///
    /// Shorter finds more, and costs more scans. Longer than what your users notice is too long.
    ///
    /// Defaults to [`DEFAULT_THRESHOLD`](Self::DEFAULT_THRESHOLD), at least
    /// [`MIN_THRESHOLD`](Self::MIN_THRESHOLD).
    pub fn threshold(mut self, threshold: Duration) -> Self {
        self.settings.threshold = threshold;
        self
    }

    /// Time between two scans of the watchdog, give or take a fifth.
    ///
    /// A stall's begin is known to within one scan, and so is its duration. Shorter is more
    /// exact, and costs a wake of the watchdog's thread each time.
    ///
    /// Defaults to the threshold divided by
    /// [`DEFAULT_SCANS_IN_THRESHOLD`](Self::DEFAULT_SCANS_IN_THRESHOLD).
    pub fn scan(mut self, scan: Duration) -> Self {
        self.settings.scan = Some(scan);
        self
    }

    /// Time between two ticks on each watched runtime.
    ///
    /// Shorter measures event-loop lag more finely, and wakes the runtime more often.
    ///
    /// Defaults to [`DEFAULT_TICK`](Self::DEFAULT_TICK), at least [`MIN_TICK`](Self::MIN_TICK).
    pub fn tick(mut self, tick: Duration) -> Self {
        self.settings.tick = tick;
        self
    }

    /// How many of the last stalls [`StallDetector::stalls`] remembers.
    ///
    /// Defaults to [`DEFAULT_RING`](Self::DEFAULT_RING).
    pub fn ring(mut self, ring: usize) -> Self {
        self.settings.ring = ring;
        self
    }

    /// How many handlers have a label of their own; further ones share `other`.
    ///
    /// Each handler has one series at least, and those that stall have two more for each cause.
    ///
    /// Defaults to [`DEFAULT_HANDLERS`](Self::DEFAULT_HANDLERS).
    pub fn handlers(mut self, handlers: usize) -> Self {
        self.settings.handlers = handlers;
        self
    }

    /// Whether, and how, the stack of a thread that is stuck is taken.
    ///
    /// Without the feature `capture`, and elsewhere than on x86_64 Linux, there are no stacks.
    ///
    /// Defaults to [`Capture::Auto`].
    pub fn capture(mut self, capture: Capture) -> Self {
        self.settings.capture = capture;
        self
    }

    /// How many sites (with their handlers and causes) have series of their own in
    /// `tokio_stall_site_seconds_total`; further ones share `other`.
    ///
    /// Defaults to [`DEFAULT_SITES`](Self::DEFAULT_SITES).
    pub fn sites(mut self, sites: usize) -> Self {
        self.settings.sites = sites;
        self
    }

    /// Crates whose code is not your own: a site is the first frame outside of them, of the
    /// standard library, and of what cargo has fetched.
    ///
    /// Defaults to none; in the variable they are parted by commas.
    pub fn site_skips<I>(mut self, crates: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.settings.site_skips = crates.into_iter().map(Into::into).collect();
        self
    }

    /// For how long a runtime may be frozen before `/livez` says so, and the process is restarted.
    ///
    /// Frozen is a runtime whose ticks do not come through, or whose workers are all stalled. Time in
    /// which the environment kept the process from running does not count, and a runtime that still
    /// polls a task that is given to it then is alive.
    ///
    /// Defaults to [`DEFAULT_DEAD_AFTER`](Self::DEFAULT_DEAD_AFTER).
    pub fn dead_after(mut self, time: Duration) -> Self {
        self.settings.dead_after = time;
        self
    }

    /// For how long a runtime may be frozen before `/readyz` says so, and no requests are sent.
    ///
    /// A freeze is known once it is longer than the [`threshold`](Self::threshold): less than that
    /// is as much as that.
    ///
    /// Defaults to [`DEFAULT_UNREADY_AFTER`](Self::DEFAULT_UNREADY_AFTER).
    pub fn unready_after(mut self, time: Duration) -> Self {
        self.settings.unready_after = time;
        self
    }

    /// For how long a runtime must not have been frozen before `/readyz` is well again.
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

    /// For how long a runtime may be frozen before [`shed_layer`](StallDetector::shed_layer) turns
    /// requests away. It ends with the first tick that comes less than half as late.
    ///
    /// Defaults to [`DEFAULT_SHED_AFTER`](Self::DEFAULT_SHED_AFTER).
    pub fn shed_after(mut self, time: Duration) -> Self {
        self.settings.shed_after = time;
        self
    }

    /// Whether a runtime is helped out of a freeze that one blocked worker has put it in.
    ///
    /// The worker that looked after the runtime's timers and sockets may be the one that blocks,
    /// and Tokio does not always wake another to take them over: then nothing comes in, though other
    /// workers are parked. When a tick is overdue by two and a worker is parked, the detector gives
    /// the runtime one small task, which wakes it. That is counted in `tower_stall_rescues_total`
    /// and logged, once a stall. It does not free the task that the blocked worker was to poll next.
    ///
    /// Defaults to [`Rescue::On`].
    pub fn rescue(mut self, rescue: Rescue) -> Self {
        self.settings.rescue = rescue;
        self
    }

    /// Serves `/metrics`, `/livez`, `/readyz` and the page of stalls, `/stalls`, at this address, on a
    /// thread of its own that answers while every worker is blocked. Port 0 takes a free one, see [`StallDetector::admin_addr`].
    ///
    /// Without TLS and authentication: bind it to loopback, or to an address that only your
    /// scraper and probes reach. The metrics then go there and nowhere else, unless
    /// [`facade`](Self::facade) is set.
    ///
    /// Defaults to none.
    pub fn admin(mut self, address: impl Into<SocketAddr>) -> Self {
        self.settings.admin = Some(address.into());
        self
    }

    /// Shows the pages `/stalls`, `/stalls.json` and `/flamegraph.svg` to whoever reaches
    /// [`admin`](Self::admin)'s port.
    ///
    /// They name functions, files, peers and lines of source. Otherwise they are shown only on
    /// connections to a loopback address with a loopback or `localhost` Host header, which
    /// `kubectl port-forward` and SSH tunnels have. Metrics and probes are answered anywhere.
    ///
    /// Defaults to off.
    pub fn pages_public(mut self) -> Self {
        self.settings.pages_public = true;
        self
    }

    /// Gives the metrics to the recorder of the `metrics` facade even
    /// though [`admin`](Self::admin) is set; `/metrics` then has none of them. Without `admin`
    /// they go there anyway.
    ///
    /// Use [`HISTOGRAM_BUCKETS`](crate::HISTOGRAM_BUCKETS) for the recorder. A recorder that
    /// blocks holds up nobody but the log and the hooks.
    ///
    /// Defaults to off.
    pub fn facade(mut self) -> Self {
        self.settings.facade = true;
        self
    }

    /// Puts your own recorder's page in front of ours at [`admin`](Self::admin)'s `/metrics`.
    ///
    /// Defaults to none.
    #[cfg(feature = "admin")]
    pub fn prometheus(mut self, handle: metrics_exporter_prometheus::PrometheusHandle) -> Self {
        self.settings.prometheus = Some(handle);
        self
    }

    /// Calls `hook` when a stall is counted and when it has ended; see [`OnStall`]. Several hooks
    /// are called in turn.
    pub fn on_stall(mut self, hook: impl OnStall) -> Self {
        self.settings.hooks.push(Box::new(hook));
        self
    }

    /// Starts to watch the runtime it is called in, under the name `main`.
    ///
    /// Runtimes on which marked futures show up later are watched too, as `runtime-2`,
    /// `runtime-3`, …; see [`StallDetector::watch`] for names of your own. The log goes to the
    /// subscriber that is in force here.
    ///
    /// # Errors
    ///
    /// See [`BuildError`]. After this nothing returns an error.
    pub fn start(mut self) -> Result<StallDetector, BuildError> {
        self.settings.apply_environment()?;
        let runtime = match Handle::try_current() {
            Ok(runtime) => Some(runtime),
            Err(_) if !self.settings.on => None,
            Err(_) => return Err(BuildError::NoRuntime),
        };
        super::launch(super::hub(&self.settings, None), self.settings, runtime)
    }
}

impl Settings {
    /// Applies the environment and checks the result.
    pub(crate) fn apply_environment(&mut self) -> Result<(), BuildError> {
        for unknown in self.apply(environment::variables())? {
            tracing::warn!(target: "tower_stall", variable = unknown, "no such setting: ignored");
        }
        self.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_wrong_setting_has_its_own_clear_error() {
        type Set = fn(Builder) -> Builder;
        let ms = Duration::from_millis;
        let cases: [(Set, &str); 10] = [
            (|builder| builder.threshold(Duration::from_micros(999)), "threshold is 999µs"),
            (|builder| builder.scan(Duration::ZERO), "scan is 0"),
            (|builder| builder.scan(Duration::from_millis(101)), "scan is 101ms"),
            (|builder| builder.tick(Duration::ZERO), "tick is 0ns"),
            (|builder| builder.ring(0), "ring is 0"),
            (|builder| builder.handlers(0), "handlers is 0"),
            (|builder| builder.sites(0), "sites is 0"),
            (|builder| builder.dead_after(Duration::ZERO), "dead_after is 0"),
            (|builder| builder.unready_after(Duration::ZERO), "unready_after is 0"),
            (|builder| builder.shed_after(Duration::ZERO), "shed_after is 0"),
        ];
        for (set, says) in cases {
            let error = set(Builder::default()).settings.check().expect_err(says).to_string();
            assert!(error.starts_with(says), "{error}");
            assert!(error.contains(": use "), "{error:?} says what to write instead");
        }
        let fine = Builder::default().threshold(ms(1)).scan(ms(1)).tick(ms(1)).ring(1).handlers(1);
        assert!(fine.settings.check().is_ok());
    }
}
