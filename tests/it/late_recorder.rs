//! A recorder that is installed after the detector was started (there is one for the process, so
//! this is a process of its own) gets the series that stand at 0, too.

use metrics_exporter_prometheus::PrometheusBuilder;
use tower_stall::StallDetector;

use crate::support::detector::blocking;
use crate::support::{LIMIT, child, find, runtime, wait_for, wait_until};

#[test]
fn a_recorder_that_comes_late_has_all_series() {
    child::run("late_recorder::a_recorder_that_comes_late_has_all_series", &[], comes_late);
}

fn comes_late() {
    let runtime = runtime(2);
    let stall = runtime.block_on(async { StallDetector::builder().start() }).expect("a detector");
    runtime.block_on(runtime.spawn(blocking(&stall, "early"))).expect("no panic");
    wait_until(LIMIT, || stall.stalls().iter().any(|stall| !stall.in_progress));
    // The first metrics go out within a second or two, to nobody.
    std::thread::sleep(std::time::Duration::from_secs(3));

    let page = PrometheusBuilder::new().install_recorder().expect("the first recorder");
    let cause = [r#"runtime="main""#, r#"cause="throttled""#];
    let frozen = wait_for(LIMIT, || find(&page.render(), "tokio_frozen_seconds_total", &cause));
    assert_eq!(frozen, 0.0);
    let handler = [r#"handler="early""#];
    assert_eq!(find(&page.render(), "tokio_stalled_seconds_total", &handler), Some(0.0));
    assert!(page.render().contains("# HELP tokio_stalls_total "));
}
