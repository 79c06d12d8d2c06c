//! What blocks is found: once, the right worker, while it blocks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tower_stall::{Cause, StallDetector};

use crate::support::detector::*;

/// Blocks one of 4 workers for a second, five times on each of ten runtimes at once.
fn fifty_repeats(background_timers: usize) {
    let found = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let runtime = multi_thread(4);
                let stall = detector(&runtime);
                for _ in 0..background_timers {
                    runtime.spawn(async {
                        loop {
                            tokio::time::sleep(ms(1)).await;
                        }
                    });
                }
                for repeat in 1..=5 {
                    block_a_second(&runtime, &stall, repeat);
                    found.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(found.into_inner(), 50);
}

fn block_a_second(runtime: &tokio::runtime::Runtime, stall: &StallDetector, repeat: usize) {
    let began = Instant::now();
    let job = runtime.spawn(stall.watched("job", async {
        let worker = tokio::runtime::worker_index();
        block(Duration::from_secs(1));
        worker
    }));
    let seen =
        wait_for(LIMIT, || stall.stalls().into_iter().next().filter(|s| s.id == repeat as u64));
    assert!(!job.is_finished() || began.elapsed() > ms(1000), "seen while it blocks");
    let in_progress = seen.in_progress;
    let worker = runtime.block_on(job).expect("no panic");
    let stalls = ended(stall);
    assert_eq!(stalls.len(), repeat, "recorded once: {stalls:#?}");
    let record = &stalls[0];
    assert!(in_progress, "first seen in progress: {seen:#?}");
    assert_eq!((&*record.handler, &*record.runtime, record.cause), ("job", "main", Cause::Sleep));
    assert_eq!(record.worker, worker);
    assert_eq!((record.workers, record.workers_stalled), (4, 1));
    let lasted = record.duration;
    assert!(
        lasted <= ms(1000) + began.elapsed().saturating_sub(ms(1000)),
        "never too long: {lasted:?}"
    );
    assert!(lasted >= ms(600), "one scan plus noise short at most: {lasted:?}");
}

#[test]
fn one_blocked_worker_among_idle_ones_is_always_found() {
    fifty_repeats(0);
}

#[test]
fn one_blocked_worker_beside_busy_timers_is_always_found() {
    fifty_repeats(8);
}

#[test]
fn a_stall_shows_in_the_metrics_before_it_ends() {
    let runtime = multi_thread(4);
    let stall = detector(&runtime);
    let release = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&release);
    runtime.spawn(stall.watched("job", async move {
        while !held.load(Ordering::Acquire) {
            block(ms(10));
        }
    }));
    let labels = [r#"runtime="main""#, r#"handler="job""#];
    let metrics = wait_for(LIMIT, || {
        let metrics = scrape(&stall);
        (metrics.get("tokio_stalled_seconds_total", &labels)? >= 1.0).then_some(metrics)
    });
    let main = [r#"runtime="main""#];
    assert_eq!(metrics.value("tokio_stalls_total", &labels), 1.0);
    assert_eq!(metrics.value("tokio_workers", &main), 4.0);
    assert_eq!(metrics.value("tokio_workers_stalled", &main), 1.0);
    assert!(metrics.value("tokio_stall_in_progress_seconds", &main) >= 0.9);
    assert_eq!(metrics.value("tokio_stall_duration_seconds_count", &main), 0.0, "not ended");
    release.store(true, Ordering::Release);
    ended(&stall);
    let metrics = wait_for(LIMIT, || {
        let metrics = scrape(&stall);
        let is_over = metrics.value("tokio_workers_stalled", &main) == 0.0
            && metrics.value("tokio_stall_duration_seconds_count", &main) > 0.0;
        is_over.then_some(metrics)
    });
    assert_eq!(metrics.value("tokio_stall_duration_seconds_count", &main), 1.0);
    assert_eq!(metrics.value("tokio_stall_in_progress_seconds", &main), 0.0);
    assert_eq!(metrics.value("tokio_stalls_total", &labels), 1.0);
    assert!(metrics.value("tokio_handler_busy_seconds_total", &[r#"handler="job""#]) >= 1.0);
}

#[test]
fn a_stall_without_end_is_told_while_it_lasts() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let release = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&release);
    runtime.spawn(stall.watched("endless", async move {
        while !held.load(Ordering::Acquire) {
            thread::park_timeout(ms(50));
        }
    }));
    let first = the_stall(&stall);
    let later = wait_for(LIMIT, || {
        Some(the_stall(&stall)).filter(|stall| stall.duration > first.duration + ms(300))
    });
    assert!(later.in_progress && later.id == first.id);
    release.store(true, Ordering::Release);
}

#[test]
fn several_workers_blocked_by_one_handler_are_a_stall_each() {
    let runtime = multi_thread(4);
    let stall = detector(&runtime);
    for _ in 0..3 {
        runtime.spawn(stall.watched("trio", async { block(ms(500)) }));
    }
    let stalls = wait_for(LIMIT, || Some(own(&stall)).filter(|stalls| stalls.len() == 3));
    let mut workers: Vec<_> = stalls.iter().map(|stall| stall.worker).collect();
    workers.sort();
    workers.dedup();
    assert_eq!(workers.len(), 3, "{stalls:#?}");
    assert_eq!(stalls.iter().map(|stall| stall.workers_stalled).max(), Some(3));
}

#[test]
fn the_drop_of_a_watched_task_counts() {
    struct Slow;
    impl Drop for Slow {
        fn drop(&mut self) {
            block(ms(400));
        }
    }
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let task = runtime.spawn(stall.watched("dropped", async {
        let _slow = Slow;
        std::future::pending::<()>().await;
    }));
    block(ms(50));
    task.abort();
    assert_eq!(the_stall(&stall).handler, "dropped");
}

#[test]
fn the_innermost_marker_has_the_blame() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let inner = stall.watched("inner", async { block(ms(400)) });
    runtime.spawn(stall.watched("outer", inner));
    assert_eq!(the_stall(&stall).handler, "inner");
}

#[test]
fn routes_can_have_a_threshold_of_their_own() {
    use axum::Router;
    use axum::body::Body;
    use axum::http::Request;
    use axum::routing::get;
    use tower::ServiceExt;

    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let naps = || get(async || block(ms(60)));
    let strict = Router::new().route("/strict", naps());
    let app = Router::new()
        .route("/lenient", naps())
        .layer(stall.layer())
        .merge(strict.layer(stall.layer().threshold(ms(15))));
    for path in ["/lenient", "/strict"] {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        runtime.spawn(app.clone().oneshot(request));
    }
    let seen = the_stall(&stall);
    assert_eq!(seen.handler, "GET /strict");
    assert_eq!(ended(&stall).len(), 1);
    assert!(
        scrape(&stall).value("tower_stall_threshold_seconds", &[]) > 0.09,
        "the detector's own"
    );
}

#[test]
fn two_detectors_see_their_own() {
    let (first_runtime, second_runtime) = (multi_thread(2), multi_thread(2));
    let (first, second) = (detector(&first_runtime), detector(&second_runtime));
    first_runtime.spawn(first.watched("first", async { block(ms(400)) }));
    second_runtime.spawn(second.watched("second", async { block(ms(400)) }));
    assert_eq!(the_stall(&first).handler, "first");
    assert_eq!(the_stall(&second).handler, "second");
    ended(&first);
    ended(&second);
    assert_eq!((own(&first).len(), own(&second).len()), (1, 1));
}

#[test]
fn short_polls_and_waiting_are_no_stall() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    runtime.block_on(async {
        let waits = (0..50).map(|_| {
            tokio::spawn(stall.watched("waits", async {
                for _ in 0..5 {
                    block(ms(2));
                    tokio::time::sleep(ms(100)).await;
                }
                let blocked = tokio::task::spawn_blocking(|| block(ms(500)));
                blocked.await.expect("no panic");
            }))
        });
        for wait in waits.collect::<Vec<_>>() {
            wait.await.expect("no panic");
        }
    });
    assert_none(&stall);
}

#[test]
fn a_task_that_panics_is_no_stall() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let task = runtime.spawn(stall.watched("panics", async {
        std::panic::resume_unwind(Box::new("on purpose"));
    }));
    assert!(runtime.block_on(task).is_err());
    block(ms(300));
    assert_none(&stall);
}
