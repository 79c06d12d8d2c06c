//! Freezes: seen from outside while they last.

use std::time::Duration;

use crate::support::detector::*;

const MAIN: &str = r#"runtime="main""#;

/// Waits until the runtime ticks.
fn ticking(stall: &tower_stall::StallDetector) -> f64 {
    wait_for(LIMIT, || {
        let metrics = scrape(stall);
        metrics.get("tokio_event_loop_heartbeat_age_seconds", &[MAIN])?;
        metrics.get("tokio_event_loop_lag_seconds_count", &[MAIN]).filter(|count| *count > 2.0)
    })
}

#[test]
fn a_frozen_current_thread_runtime_moves_in_the_metrics_while_it_is_frozen() {
    let runtime = current_thread();
    let stall = detector(&runtime);
    let scraper = std::thread::scope(|scope| {
        let scraper = scope.spawn(|| {
            let before = ticking(&stall);
            let early = wait_for(LIMIT, || {
                let metrics = scrape(&stall);
                (metrics.value("tokio_frozen_seconds_total", &[MAIN]) >= 1.0).then_some(metrics)
            });
            assert!(early.value("tokio_event_loop_heartbeat_age_seconds", &[MAIN]) > 0.9);
            assert_eq!(early.value("tokio_workers_stalled", &[MAIN]), 1.0);
            let samples = early.value("tokio_event_loop_lag_seconds_count", &[MAIN]) - before;
            assert!(samples >= 30.0, "missing ticks are filled in: {samples}");
            let over_half = early.value("tokio_event_loop_lag_seconds_count", &[MAIN])
                - early.value("tokio_event_loop_lag_seconds_bucket", &[MAIN, r#"le="0.5""#]);
            assert!(over_half >= 10.0, "half of them are later than half a second: {over_half}");
            let later = wait_for(LIMIT, || {
                let metrics = scrape(&stall);
                (metrics.value("tokio_frozen_seconds_total", &[MAIN]) >= 2.0).then_some(metrics)
            });
            assert!(the_stall(&stall).in_progress, "all that while it lasts");
            later
        });
        runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            stall.watched("GET /freezes", async { block(Duration::from_secs(4)) }).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        });
        scraper.join().expect("the scraper's checks hold")
    });
    let after = scrape(&stall);
    let frozen = after.value("tokio_frozen_seconds_total", &[MAIN]);
    assert!((3.0..=5.0).contains(&frozen), "four seconds, in whole ones: {frozen}");
    assert!(scraper.value("tokio_event_loop_heartbeat_age_seconds", &[MAIN]) > 1.0);
    assert!(after.value("tokio_event_loop_heartbeat_age_seconds", &[MAIN]) < 3.0);
}

#[test]
fn all_workers_blocked_is_a_freeze_and_metrics_are_served_through_it() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    ticking(&stall);
    for _ in 0..2 {
        runtime.spawn(stall.watched("both", async { block(Duration::from_secs(3)) }));
    }
    wait_for(LIMIT, || {
        let metrics = scrape(&stall);
        let stalled = metrics.value("tokio_workers_stalled", &[MAIN]);
        (metrics.value("tokio_frozen_seconds_total", &[MAIN]) >= 1.0 && stalled == 2.0)
            .then_some(())
    });
    assert!(stall.stalls().iter().all(|stall| stall.in_progress));
}

#[test]
fn an_idle_runtime_has_lag_and_a_heartbeat_and_no_freeze() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let first = ticking(&stall);
    wait_for(LIMIT, || {
        scrape(&stall)
            .get("tokio_event_loop_lag_seconds_count", &[MAIN])
            .filter(|count| *count > first + 40.0)
    });
    let metrics = scrape(&stall);
    assert_eq!(metrics.value("tokio_frozen_seconds_total", &[MAIN]), 0.0);
    assert_eq!(metrics.value("tokio_workers_saturated", &[MAIN]), 0.0);
    assert_none(&stall);
}
