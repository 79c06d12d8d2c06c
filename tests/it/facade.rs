//! The ways out that meet the process's own recorder (there is one, so this is a process of
//! its own and one test): each metric comes out at one place, once.

use std::collections::BTreeSet;
use std::sync::Arc;

use metrics_exporter_prometheus::PrometheusHandle;
use tower_stall::{METRICS, StallDetector, allow_blocking};

use crate::recorder::{nothing_twice, recorder};
use crate::support::child;
use crate::support::{LIMIT, Rig, THRESHOLD, fetch, metric, runtime, samples, wait_until};

/// Makes a stall under that name and waits for its end.
fn block(rig: &Rig, name: &'static str) {
    let block = rig.block(name);
    rig.run(rig.stall.watched(name, async move { block.run() }));
    rig.one_stall(name);
}

/// All seconds that are there are whole.
#[track_caller]
fn seconds_are_whole(page: &str) {
    let seconds = samples(page).filter(|sample| sample.name.ends_with("_seconds_total"));
    let seconds: Vec<_> = seconds.map(|sample| sample.value).collect();
    assert!(seconds.len() > 5, "{page}");
    assert!(seconds.iter().all(|value| value.fract() == 0.0), "{page}");
}

fn stalls(page: &str, handler: &str) -> Option<f64> {
    let labels = [("runtime", "main"), ("handler", handler)];
    metric(page, "tokio_stalls_total", &labels)
}

fn render(handle: &PrometheusHandle) -> impl Fn() -> String + Send + Sync + 'static {
    let handle = handle.clone();
    move || handle.render()
}

#[test]
fn each_metric_has_one_way_out() {
    child::run("facade::each_metric_has_one_way_out", &[], each_way);
}

fn each_way() {
    let recorder = recorder();
    let handle = recorder.handle();

    the_facade_works_for_a_recorder_that_comes_late(recorder, &handle);
    a_page_of_our_own_follows_the_users(&handle);
    an_admin_server_beside_the_facade_has_no_page(&handle);
    or_the_users_page_alone(&handle);
}

fn the_facade_works_for_a_recorder_that_comes_late(
    recorder: metrics_exporter_prometheus::PrometheusRecorder,
    handle: &PrometheusHandle,
) {
    let runtime = runtime(2);
    let builder = StallDetector::builder().threshold(THRESHOLD);
    let stall = Arc::new(runtime.block_on(async { builder.start() }).expect("a detector"));
    let rig = Rig { stall, runtime };
    assert_eq!(rig.stall.admin_addr(), None);
    metrics::set_global_recorder(recorder).expect("it is the first");
    metrics::counter!("users_own_total").increment(7);

    rig.run(async { allow_blocking("at start", || ()) });
    block(&rig, "by-facade");
    let main = [("runtime", "main")];
    wait_until(LIMIT, || {
        let page = handle.render();
        stalls(&page, "by-facade") == Some(1.0)
            && metric(&page, "tokio_stall_duration_seconds_count", &main) >= Some(1.0)
            && metric(&page, "tokio_event_loop_lag_seconds_count", &main) >= Some(1.0)
            && metric(&page, "tokio_workers", &main) == Some(2.0)
            && metric(&page, "tokio_event_loop_heartbeat_age_seconds", &main).is_some()
            && metric(&page, "tower_stall_allowed_total", &[("name", "at start")]) == Some(1.0)
            && metric(&page, "tower_stall_watchdog_scans_total", &[]) >= Some(1.0)
            && metric(&page, "tower_stall_threshold_seconds", &[]) == Some(0.1)
            && page.contains("tokio_stall_site_seconds_total{")
    });
    let page = handle.render();
    assert!(page.contains("# TYPE tokio_event_loop_lag_seconds histogram"), "the buckets are ours");
    let missing: Vec<_> = METRICS
        .iter()
        .filter(|info| !page.contains(&format!("# TYPE {} ", info.name)))
        .map(|info| info.name)
        .collect();
    assert_eq!(missing, Vec::<&str>::new());
    nothing_twice(&page);
    seconds_are_whole(&page);
    let runtime = rig.runtime;
    drop(rig.stall);
    drop(runtime);
}

fn a_page_of_our_own_follows_the_users(handle: &PrometheusHandle) {
    let rig = Rig::new(2, |builder| builder.prometheus(render(handle)));
    block(&rig, "by-page");
    wait_until(LIMIT, || stalls(&rig.metrics(), "by-page") == Some(1.0));
    let page = rig.metrics();
    let theirs = page.find("users_own_total 7").expect("the user's page is in it");
    let ours = page.find("handler=\"by-page\"").expect("ours too");
    assert!(theirs < ours, "the user's first");
    assert_eq!(stalls(&handle.render(), "by-page"), None, "not by the facade as well");
    let of_ours = samples(&page).filter(|sample| sample.labels.contains(&("handler", "by-page")));
    let names: Vec<_> = of_ours.map(|sample| sample.name).collect();
    let once: BTreeSet<_> = names.iter().collect();
    assert_eq!(names.len(), once.len(), "{names:?}");
}

fn an_admin_server_beside_the_facade_has_no_page(handle: &PrometheusHandle) {
    let rig = Rig::new(2, |builder| builder.facade(true));
    block(&rig, "beside");
    wait_until(LIMIT, || stalls(&handle.render(), "beside") == Some(1.0));
    assert_eq!(fetch(rig.stall.admin_addr().expect("an admin server"), "/metrics").0, 404);
}

fn or_the_users_page_alone(handle: &PrometheusHandle) {
    let rig = Rig::new(2, |builder| builder.facade(true).prometheus(render(handle)));
    block(&rig, "alone");
    wait_until(LIMIT, || stalls(&rig.metrics(), "alone") == Some(1.0));
    let page = rig.metrics();
    assert!(page.contains("users_own_total 7"));
    nothing_twice(&page);
}
