//! What blocks is found: once, the right worker, while it blocks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tower_stall::{Cause, StallDetector};

use crate::saturation::Longest;
use crate::support::detector::*;

/// Blocks one of 4 workers until that is shown, five times on each of ten runtimes at once.
fn fifty_repeats(background_timers: usize) {
    let _all = all_cpus();
    let missed = Mutex::new(Vec::new());
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
                    let time = block_until_long(&runtime, &stall, repeat);
                    missed.lock().expect("no panic").push(time);
                }
            });
        }
    });
    let mut missed = missed.into_inner().expect("no panic");
    missed.sort();
    assert_eq!(missed.len(), 50);
    assert!(missed[25] <= ms(400), "one scan plus noise short at most: {missed:?}");
}

/// Blocks in one system call until the stall is shown to last for a while, and returns how much of
/// the block is not in its record.
fn block_until_long(
    runtime: &tokio::runtime::Runtime,
    stall: &StallDetector,
    repeat: usize,
) -> Duration {
    let (release, is_released) = channel::<()>();
    let job = runtime.spawn(stall.watched("job", async move {
        let began = Instant::now();
        assert_eq!(is_released.recv_timeout(LIMIT), Err(RecvTimeoutError::Disconnected));
        (tokio::runtime::worker_index(), began.elapsed())
    }));
    let began = Instant::now();
    let seen = wait_for(LIMIT, || {
        let mut stalls = own(stall).into_iter();
        stalls.find(|stall| stall.in_progress && stall.duration >= ms(500))
    });
    drop(release);
    let (worker, blocked) = runtime.block_on(job).expect("no panic");
    let all = began.elapsed();
    let stalls = ended(stall);
    assert_eq!(stalls.len(), repeat, "recorded once: {stalls:#?}");
    let record = &stalls[0];
    assert_eq!(record.id, seen.id);
    assert_eq!((&*record.handler, &*record.runtime, record.cause), ("job", "main", Cause::Lock));
    assert_eq!(record.worker, worker);
    assert_eq!((record.workers, record.workers_stalled), (4, 1));
    let lasted = record.duration;
    assert!(lasted >= seen.duration, "{lasted:?} {seen:#?}");
    assert!(lasted <= all.max(blocked), "never too long: {lasted:?}");
    blocked.saturating_sub(lasted)
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
        let seen = stall.clone();
        let trio = async move { block_until_shown(&seen, "trio", 3) };
        runtime.spawn(stall.watched("trio", trio));
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
    struct Slow(StallDetector);
    impl Drop for Slow {
        fn drop(&mut self) {
            block_until_shown(&self.0, "dropped", 1);
        }
    }
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let (slow, (started, is_started)) = (Slow(stall.clone()), channel());
    let task = runtime.spawn(stall.watched("dropped", async move {
        let _slow = slow;
        started.send(()).expect("the test waits");
        std::future::pending::<()>().await;
    }));
    is_started.recv_timeout(LIMIT).expect("it is polled");
    task.abort();
    assert_eq!(the_stall(&stall).handler, "dropped");
}

#[test]
fn the_innermost_marker_has_the_blame() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    runtime.spawn(stall.watched("outer", blocking(&stall, "inner")));
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
    let seen = stall.clone();
    let strict = get(async move || block_until_shown(&seen, "GET /strict", 1));
    let strict = Router::new().route("/strict", strict);
    let app = Router::new()
        .route("/lenient", get(async || block(ms(60))))
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
    first_runtime.spawn(blocking(&first, "first"));
    second_runtime.spawn(blocking(&second, "second"));
    assert_eq!(the_stall(&first).handler, "first");
    assert_eq!(the_stall(&second).handler, "second");
    ended(&first);
    ended(&second);
    assert_eq!((own(&first).len(), own(&second).len()), (1, 1));
}

#[test]
fn short_polls_and_waiting_are_no_stall() {
    const BLOCKING: usize = 5;

    for _ in 0..5 {
        let runtime = multi_thread(2);
        let stall = detector(&runtime);
        let longest = Longest::default();
        runtime.block_on(async {
            // Tokio starts these threads under a lock that workers may wait for: they are there before any mark is.
            let started = Arc::new(Barrier::new(BLOCKING));
            let starts = (0..BLOCKING).map(|_| {
                let started = Arc::clone(&started);
                tokio::task::spawn_blocking(move || started.wait())
            });
            for start in starts.collect::<Vec<_>>() {
                start.await.expect("no panic");
            }
            let waits = (0..50).map(|number| {
                let waits = async move {
                    for _ in 0..5 {
                        block(ms(2));
                        tokio::time::sleep(ms(100)).await;
                    }
                    if number < BLOCKING {
                        let blocked = tokio::task::spawn_blocking(|| block(ms(500)));
                        blocked.await.expect("no panic");
                    }
                };
                tokio::spawn(stall.watched("waits", longest.clone().of(waits)))
            });
            for wait in waits.collect::<Vec<_>>() {
                wait.await.expect("no panic");
            }
        });
        let stalls = own(&stall);
        if stalls.is_empty() {
            return;
        }
        // Tokio's timers and its pool have locks, and who holds one may have no CPU.
        longest.excuses(&stalls);
    }
    panic!("this machine holds threads up for too long to tell");
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
