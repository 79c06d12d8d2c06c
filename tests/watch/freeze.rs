//! Freezes: seen from outside while they last.

use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, OnceLock};
use std::time::{Duration, Instant};

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
    let (blocked_for, (release, is_released)) = (OnceLock::new(), channel::<()>());
    let (end, has_ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::scope(|scope| {
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
            assert!(later.value("tokio_event_loop_heartbeat_age_seconds", &[MAIN]) > 1.0);
            drop(release);
            let frozen: Duration = *wait_for(LIMIT, || blocked_for.get());
            let after = wait_for(LIMIT, || {
                let metrics = scrape(&stall);
                let age = metrics.value("tokio_event_loop_heartbeat_age_seconds", &[MAIN]);
                (age < 1.0).then_some(metrics)
            });
            drop(end);
            let counted = after.value("tokio_frozen_seconds_total", &[MAIN]);
            let all = frozen.as_secs_f64();
            assert!((all - 1.0..=all + 1.0).contains(&counted), "{counted} of {all}");
        });
        runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let start = Instant::now();
            let freezes = async { assert!(is_released.recv_timeout(2 * LIMIT).is_err()) };
            stall.watched("GET /freezes", freezes).await;
            blocked_for.set(start.elapsed()).expect("once");
            drop(has_ended.await);
        });
        scraper.join().expect("the scraper's checks hold");
    });
}

#[test]
fn all_workers_blocked_is_a_freeze_and_metrics_are_served_through_it() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    ticking(&stall);
    let release = Arc::new(Barrier::new(3));
    for _ in 0..2 {
        let held = Arc::clone(&release);
        runtime.spawn(stall.watched("both", async move {
            held.wait();
        }));
    }
    wait_for(LIMIT, || {
        let metrics = scrape(&stall);
        let stalled = metrics.value("tokio_workers_stalled", &[MAIN]);
        (metrics.value("tokio_frozen_seconds_total", &[MAIN]) >= 1.0 && stalled == 2.0)
            .then_some(())
    });
    assert!(own(&stall).iter().all(|stall| stall.in_progress));
    release.wait();
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
    metrics.assert_not_frozen(MAIN);
    assert_eq!(metrics.value("tokio_workers_saturated", &[MAIN]), 0.0);
    assert_none(&stall);
}
