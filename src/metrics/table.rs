//! The table of all metrics.

use metrics::{KeyName, Recorder, Unit};

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// A total that only grows.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Samples, counted in buckets by size.
    Histogram,
}

/// One row of [`METRICS`].
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct MetricInfo {
    /// The name, with the unit in it.
    pub name: &'static str,
    /// The type.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means.
    pub help: &'static str,
}

macro_rules! metrics {
    ($($metric:ident $kind:ident $name:literal [$($label:literal),*] $help:literal)*) => {
        /// A row of the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub(crate) enum Metric { $($metric),* }

        #[doc = concat!("Every metric of the crate.\n\n", include_str!("../../docs/metrics.md"))]
        pub const METRICS: &[MetricInfo] = &[
            $(MetricInfo {
                name: $name,
                kind: MetricKind::$kind,
                labels: &[$($label),*],
                help: $help,
            }),*
        ];
    };
}

metrics! {
    Lag Histogram "tokio_event_loop_lag_seconds" ["runtime"]
        "How late ticks of the runtime woke; ticks that are missing count while they are missing."
    HeartbeatAge Gauge "tokio_event_loop_heartbeat_age_seconds" ["runtime"]
        "Time since the last tick of the runtime woke."
    FrozenSeconds Counter "tokio_frozen_seconds_total" ["runtime", "cause"]
        "Time in which no tick of the runtime came through, or all its workers were stalled."
    Workers Gauge "tokio_workers" ["runtime"]
        "Workers of the runtime."
    WorkersStalled Gauge "tokio_workers_stalled" ["runtime"]
        "Workers that a poll longer than the threshold holds now."
    WorkersSaturated Gauge "tokio_workers_saturated" ["runtime"]
        "Workers that have not come round their loop for the threshold, with no poll proven to hold them."
    Stalls Counter "tokio_stalls_total" ["runtime", "handler", "cause"]
        "Polls that crossed the threshold, counted when they did."
    StalledSeconds Counter "tokio_stalled_seconds_total" ["runtime", "handler", "cause"]
        "Time of workers held by such polls, added while they last."
    StallDuration Histogram "tokio_stall_duration_seconds" ["runtime"]
        "How long stalls lasted, recorded at their end."
    StallInProgress Gauge "tokio_stall_in_progress_seconds" ["runtime"]
        "Age of the oldest stall in progress, else 0."
    SiteSeconds Counter "tokio_stall_site_seconds_total" ["handler", "site", "cause"]
        "The same time by the function of your own code that the stack had; unknown where it had none."
    DelayedRequests Counter "tokio_stall_delayed_requests_total" ["handler"]
        "Other requests in flight while the handler stalled their runtime: an upper bound of those it delayed."
    HandlerBusySeconds Counter "tokio_handler_busy_seconds_total" ["handler"]
        "Time that polls of the handler took on workers, sampled."
    Threshold Gauge "tower_stall_threshold_seconds" []
        "The threshold of the detector."
    BuildInfo Gauge "tower_stall_build_info" ["version", "capture"]
        "1, with the version of the crate and the stack capture in use."
    Scans Counter "tower_stall_watchdog_scans_total" []
        "Scans of the watchdog."
    LateSeconds Counter "tower_stall_watchdog_late_seconds_total" []
        "How late the watchdog's scans began, in all."
    LagSamplesLost Counter "tower_stall_lag_samples_lost_total" []
        "Lag samples that the watchdog came too late for."
    Allowed Counter "tower_stall_allowed_total" ["name"]
        "Blocks marked as intended."
    Captures Counter "tower_stall_captures_total" ["outcome"]
        "Stacks that were wanted, by how it went."
    Rescues Counter "tower_stall_rescues_total" ["runtime"]
        "Stalls that held up the runtime's timers and sockets until a parked worker was woken."
    Shed Counter "tower_stall_shed_total" []
        "Requests turned away while the runtime was frozen."
    AdminDropped Counter "tower_stall_admin_dropped_total" []
        "Connections of the admin server that gave way to others or took too long."
    ThreadUp Gauge "tower_stall_thread_up" ["thread"]
        "1 while this thread of the detector works, 0 while it is stuck or lost."
    Panics Counter "tower_stall_panics_total" []
        "Panics of threads of the detector, each the end of one piece of their work."
    Suppressed Counter "tower_stall_reports_suppressed_total" []
        "Log lines held back by the limits, and reports dropped because their reader was stuck."
}

/// Upper bounds of the buckets of `tokio_event_loop_lag_seconds`, in seconds.
pub const LAG_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0,
];

/// Upper bounds of the buckets of `tokio_stall_duration_seconds`, in seconds.
pub const STALL_BUCKETS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// The histograms with their buckets, for a recorder of your own:
///
/// ```
/// # #[cfg(feature = "admin")] fn with() -> Result<(), Box<dyn std::error::Error>> {
/// use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
///
/// let mut recorder = PrometheusBuilder::new();
/// for (name, buckets) in tower_stall::HISTOGRAM_BUCKETS {
///     recorder = recorder.set_buckets_for_metric(Matcher::Full((*name).into()), buckets)?;
/// }
/// # Ok(()) }
/// ```
pub const HISTOGRAM_BUCKETS: &[(&str, &[f64])] = &[
    ("tokio_event_loop_lag_seconds", LAG_BUCKETS),
    ("tokio_stall_duration_seconds", STALL_BUCKETS),
];

impl Metric {
    pub(super) fn info(self) -> MetricInfo {
        METRICS[self as usize]
    }
}

/// Tells a recorder what each metric means.
pub(crate) fn describe(recorder: &dyn Recorder) {
    for info in METRICS {
        let unit = info.name.contains("seconds").then_some(Unit::Seconds);
        let name = KeyName::from_const_str(info.name);
        let help = info.help.into();
        match info.kind {
            MetricKind::Counter => recorder.describe_counter(name, unit, help),
            MetricKind::Gauge => recorder.describe_gauge(name, unit, help),
            MetricKind::Histogram => recorder.describe_histogram(name, unit, help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_prometheus_conventions() {
        for info in METRICS {
            let is_total = info.name.ends_with("_total");
            assert_eq!(is_total, info.kind == MetricKind::Counter, "{}", info.name);
            assert!(info.help.ends_with('.'), "{}", info.name);
            assert!(info.labels.len() <= 3, "{}", info.name);
        }
    }

    #[test]
    fn each_histogram_has_ascending_buckets() {
        let of_table = METRICS.iter().filter(|info| info.kind == MetricKind::Histogram);
        let with_buckets = HISTOGRAM_BUCKETS.iter().map(|(name, _)| *name);
        assert!(of_table.map(|info| info.name).eq(with_buckets));
        for (name, buckets) in HISTOGRAM_BUCKETS {
            assert!(buckets.is_sorted_by(|a, b| a < b), "{name}");
        }
    }
}
