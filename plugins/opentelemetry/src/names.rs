//! The names of the metrics by OpenTelemetry's conventions.

/// A row of [`METRICS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MetricName {
    /// The name in [`tower_stall::METRICS`], where its kind, labels and meaning are.
    pub facade: &'static str,
    /// The name in OpenTelemetry.
    pub name: &'static str,
    /// The unit, in UCUM; empty where there is none.
    pub unit: &'static str,
}

const fn row(facade: &'static str, name: &'static str, unit: &'static str) -> MetricName {
    MetricName { facade, name, unit }
}

/// Each metric of tower-stall under the name that OpenTelemetry has for it: dots, the unit beside the name, no
/// `_total`. Labels keep their names.
///
/// Where OpenTelemetry's names are translated for Prometheus, they become those of the first column again, so the rules
/// and the dashboard of `deploy/` hold for both.
pub const METRICS: &[MetricName] = &[
    row("tokio_event_loop_lag_seconds", "tokio.event_loop.lag", "s"),
    row("tokio_event_loop_heartbeat_age_seconds", "tokio.event_loop.heartbeat_age", "s"),
    row("tokio_frozen_seconds_total", "tokio.frozen", "s"),
    row("tokio_workers", "tokio.workers", "{worker}"),
    row("tokio_workers_stalled", "tokio.workers_stalled", "{worker}"),
    row("tokio_workers_saturated", "tokio.workers_saturated", "{worker}"),
    row("tokio_stalls_total", "tokio.stalls", "{stall}"),
    row("tokio_stalled_seconds_total", "tokio.stalled", "s"),
    row("tokio_stall_duration_seconds", "tokio.stall.duration", "s"),
    row("tokio_stall_in_progress_seconds", "tokio.stall.in_progress", "s"),
    row("tokio_stall_site_seconds_total", "tokio.stall.site", "s"),
    row("tokio_stall_delayed_requests_total", "tokio.stall.delayed_requests", "{request}"),
    row("tokio_handler_busy_seconds_total", "tokio.handler.busy", "s"),
    row("tower_stall_threshold_seconds", "tower_stall.threshold", "s"),
    row("tower_stall_build_info", "tower_stall.build_info", ""),
    row("tower_stall_watchdog_scans_total", "tower_stall.watchdog.scans", "{scan}"),
    row("tower_stall_watchdog_late_seconds_total", "tower_stall.watchdog.late", "s"),
    row("tower_stall_lag_samples_lost_total", "tower_stall.lag_samples_lost", "{sample}"),
    row("tower_stall_allowed_total", "tower_stall.allowed", "{block}"),
    row("tower_stall_captures_total", "tower_stall.captures", "{capture}"),
    row("tower_stall_rescues_total", "tower_stall.rescues", "{stall}"),
    row("tower_stall_shed_total", "tower_stall.shed", "{request}"),
    row("tower_stall_admin_dropped_total", "tower_stall.admin.dropped", "{connection}"),
    row("tower_stall_thread_up", "tower_stall.thread_up", ""),
    row("tower_stall_panics_total", "tower_stall.panics", "{panic}"),
    row("tower_stall_reports_suppressed_total", "tower_stall.reports_suppressed", "{report}"),
];

#[cfg(test)]
mod tests {
    use tower_stall::MetricKind;

    use super::*;

    #[test]
    fn each_metric_has_a_name() {
        let ours = METRICS.iter().map(|metric| metric.facade);
        assert!(ours.eq(tower_stall::METRICS.iter().map(|info| info.name)));
    }

    /// By the rules of the OpenTelemetry Collector and of Prometheus' own receiver.
    #[test]
    fn prometheus_translates_each_name_back() {
        for (metric, info) in METRICS.iter().zip(tower_stall::METRICS) {
            let mut translated = metric.name.replace('.', "_");
            if metric.unit == "s" {
                translated += "_seconds";
            }
            if info.kind == MetricKind::Counter {
                translated += "_total";
            }
            assert_eq!(translated, metric.facade);
        }
    }

    #[test]
    fn names_and_units_follow_the_conventions() {
        for MetricName { name, unit, .. } in METRICS {
            assert!(name.contains('.') && !name.contains("seconds"), "{name}");
            let is_allowed = |c: char| c.is_ascii_lowercase() || matches!(c, '.' | '_');
            assert!(name.chars().all(is_allowed), "{name}");
            let is_annotation = unit.starts_with('{') && unit.ends_with('}');
            assert!(matches!(*unit, "" | "s") || is_annotation, "{name}: {unit}");
            // A name is no namespace of another.
            let below = format!("{name}.");
            assert!(!METRICS.iter().any(|other| other.name.starts_with(&below)), "{name}");
        }
    }
}
