//! `/metrics`: the page, the table of all metrics, and how they move.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tower_stall::{LAG_BUCKETS, METRICS, MetricKind, STALL_BUCKETS, Stall, allow_blocking};

use crate::recorder::nothing_twice;
use crate::support::{
    ALONE, LIMIT, Rig, block_until, client, fetch, metric, samples, scrape, wait_for, wait_until,
};

fn kind(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Counter => "counter",
        MetricKind::Gauge => "gauge",
        MetricKind::Histogram => "histogram",
        _ => "a kind this test does not know",
    }
}

/// A detector that has had one of everything.
fn used() -> Rig {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("import");
    rig.run(rig.stall.watched("import", async move {
        allow_blocking("at start", || ());
        block.run();
    }));
    rig.one_stall("import");
    let lag = "tokio_event_loop_lag_seconds_count";
    wait_until(LIMIT, || {
        let page = rig.metrics();
        metric(&page, lag, &[("runtime", "main")]) >= Some(1.0)
            && metric(&page, "tower_stall_allowed_total", &[("name", "at start")]).is_some()
            && metric(&page, "tokio_stall_duration_seconds_count", &[("runtime", "main")]).is_some()
            && (cfg!(not(feature = "capture")) || page.contains("tokio_stall_site_seconds_total{"))
    });
    rig
}

/// Not there without the feature.
fn of_capture(name: &str) -> bool {
    ["tokio_stall_site_seconds_total", "tower_stall_captures_total"].contains(&name)
}

#[test]
fn the_page_and_the_table_have_the_same_metrics() {
    let page = used().metrics();
    let types: BTreeMap<_, _> =
        page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let there =
        || METRICS.iter().filter(|info| cfg!(feature = "capture") || !of_capture(info.name));
    let table: BTreeMap<_, _> = there().map(|info| (info.name, kind(info.kind))).collect();
    assert_eq!(types, table);
    for info in there() {
        let help = format!("# HELP {} {}", info.name, info.help);
        assert!(page.contains(&help), "{help}");
    }
}

#[test]
fn each_series_has_the_labels_of_the_table() {
    let page = used().metrics();
    for sample in samples(&page) {
        let info = METRICS.iter().find(|info| match info.kind {
            MetricKind::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|part| sample.name.strip_suffix(part) == Some(info.name)),
            _ => info.name == sample.name,
        });
        let info = info.unwrap_or_else(|| panic!("{sample:?} is not in the table"));
        let expected: BTreeSet<_> = info.labels.iter().copied().collect();
        let labels = sample.labels.iter().map(|(name, _)| *name).filter(|name| *name != "le");
        assert_eq!(labels.collect::<BTreeSet<_>>(), expected, "{sample:?}");
    }
}

#[test]
fn no_series_is_there_twice() {
    nothing_twice(&used().metrics());
}

#[test]
fn histograms_have_the_buckets_of_the_constants() {
    let page = used().metrics();
    for (name, buckets) in [
        ("tokio_event_loop_lag_seconds_bucket", LAG_BUCKETS),
        ("tokio_stall_duration_seconds_bucket", STALL_BUCKETS),
    ] {
        let bounds: Vec<f64> = samples(&page)
            .filter(|sample| sample.name == name)
            .filter_map(|sample| {
                let (_, bound) = sample.labels.into_iter().find(|(name, _)| *name == "le")?;
                bound.parse().ok()
            })
            .collect();
        assert_eq!(bounds[..bounds.len() - 1], *buckets);
        assert_eq!(bounds.last(), Some(&f64::INFINITY));
    }
}

#[test]
fn a_stall_shows_while_it_lasts_and_its_gauges_go_back_to_0() {
    let rig = Rig::new(2, |builder| builder);
    let admin = rig.stall.admin_addr().expect("an admin server");
    let (main, of) = ([("runtime", "main")], [("runtime", "main"), ("handler", "import")]);
    let task = rig.stall.watched("import", async move {
        block_until(|| {
            let page = scrape(admin);
            metric(&page, "tokio_stalls_total", &of) == Some(1.0)
                && metric(&page, "tokio_stalled_seconds_total", &of) >= Some(1.0)
                && metric(&page, "tokio_workers_stalled", &main) >= Some(1.0)
                && metric(&page, "tokio_stall_in_progress_seconds", &main) > Some(1.0)
        });
    });
    rig.run(task);
    let stall = rig.one_stall("import");
    assert!(stall.duration < LIMIT, "the page showed it while it lasted");
    wait_until(LIMIT, || {
        let page = rig.metrics();
        metric(&page, "tokio_workers_stalled", &main) == Some(0.0)
            && metric(&page, "tokio_stall_in_progress_seconds", &main) == Some(0.0)
            && metric(&page, "tokio_stall_duration_seconds_count", &main) >= Some(1.0)
    });
    // The sums are read when nobody else has them at the moment.
    wait_until(LIMIT, || {
        let seconds = rig.metric("tokio_stalled_seconds_total", &of).expect("it was there");
        (seconds - stall.duration.as_secs_f64()).abs() < 1e-6 || is_starved(&rig)
    });
    let page = rig.metrics();
    assert_eq!(metric(&page, "tokio_stalls_total", &of), Some(1.0));
    assert!(metric(&page, "tokio_stall_duration_seconds_sum", &main) >= Some(1.0));
}

/// Whether the environment had part of the time that stalls lasted, so that the handler's is shorter.
fn is_starved(rig: &Rig) -> bool {
    rig.metric("tokio_stalls_total", &[("handler", "environment")]).is_some()
}

#[test]
fn a_stall_of_150_ms_shows_in_seconds_at_once() {
    const SHORT: Duration = Duration::from_millis(150);
    let is_it = |stall: &Stall| stall.handler == "short" && stall.duration >= SHORT;
    let of = [("handler", "short")];
    loop {
        let rig = Rig::new(2, |builder| builder);
        let seen = Arc::clone(&rig.stall);
        rig.run(rig.stall.watched("short", async move {
            block_until(|| seen.stalls().iter().any(is_it));
        }));
        let seconds = wait_for(LIMIT, || {
            let stall = rig.stall.stalls().into_iter().find(is_it).filter(|it| !it.in_progress)?;
            let seconds = rig.metric("tokio_stalled_seconds_total", &of)?;
            let is_exact = (seconds - stall.duration.as_secs_f64()).abs() < 1e-6;
            (is_exact || is_starved(&rig)).then_some(seconds)
        });
        if is_starved(&rig) {
            continue;
        }
        assert!(seconds >= 0.15, "{seconds}");
        let site = || rig.metric("tokio_stall_site_seconds_total", &of);
        wait_until(LIMIT, || cfg!(not(feature = "capture")) || site() == Some(seconds));
        wait_until(LIMIT, || rig.metric("tokio_handler_busy_seconds_total", &of) > Some(0.0));
        return;
    }
}

#[test]
fn no_counter_shrinks_from_scrape_to_scrape_and_none_is_lost() {
    let rig = Rig::new(2, |builder| builder);
    let mut last = BTreeMap::new();
    for _ in 0..5 {
        let block = rig.block("often");
        let task = rig.runtime.spawn(rig.stall.watched("often", async move { block.run() }));
        loop {
            let page = rig.metrics();
            let mut now = BTreeMap::new();
            for sample in samples(&page).filter(|sample| sample.name.ends_with("_total")) {
                now.insert(format!("{} {:?}", sample.name, sample.labels), sample.value);
            }
            for (series, value) in &last {
                assert!(now.get(series) >= Some(value), "{series}: {value}, {:?}", now.get(series));
            }
            last = now;
            if task.is_finished() {
                break;
            }
        }
    }
    let sum = || {
        let stalls = rig.stall.stalls().into_iter().filter(|stall| stall.handler == "often");
        stalls.map(|stall| stall.duration.as_secs_f64()).sum::<f64>()
    };
    let seconds = || rig.metric("tokio_stalled_seconds_total", &[("handler", "often")]);
    let is_exact = || seconds().is_some_and(|seconds| (seconds - sum()).abs() < 1e-5);
    wait_until(LIMIT, || is_exact() || is_starved(&rig));
}

#[test]
fn the_page_is_text_and_there_is_no_other() {
    let rig = Rig::new(1, |builder| builder);
    let admin = rig.stall.admin_addr().expect("an admin server");
    let answer = client().get(format!("http://{admin}/metrics")).call().expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(fetch(admin, "/nothing").0, 404);
    assert_eq!(fetch(admin, "/").0, 404);
}

#[test]
fn facts_about_the_detector_are_there_from_the_start() {
    let rig = Rig::new(3, |builder| builder.threshold(Duration::from_millis(250)));
    let page = rig.metrics();
    assert_eq!(metric(&page, "tower_stall_threshold_seconds", &[]), Some(0.25));
    let capture = if cfg!(feature = "capture") { "auto" } else { "off" };
    let build = [("version", env!("CARGO_PKG_VERSION")), ("capture", capture)];
    assert_eq!(metric(&page, "tower_stall_build_info", &build), Some(1.0));
    assert_eq!(metric(&page, "tokio_workers", &[("runtime", "main")]), Some(3.0));
    wait_until(LIMIT, || {
        let page = rig.metrics();
        let frozen = |cause: tower_stall::Cause| {
            let labels = [("runtime", "main"), ("cause", cause.as_str())];
            metric(&page, "tokio_frozen_seconds_total", &labels) == Some(0.0)
        };
        tower_stall::Cause::ALL.into_iter().all(frozen)
    });
}

#[test]
fn the_admin_server_ends_with_the_detector() {
    let rig = Rig::new(1, |builder| builder.admin(ALONE));
    let admin = rig.stall.admin_addr().expect("an admin server");
    scrape(admin);
    drop(rig);
    std::net::TcpListener::bind(admin).expect("the port is free again");
}
