//! Runtimes and detectors come and go.

use std::time::{Duration, Instant};

use tower_stall::StallDetector;

use crate::support::detector::*;

#[test]
fn runtimes_are_told_apart_by_name() {
    let (main, background, third) = (multi_thread(2), multi_thread(3), current_thread());
    let stall = detector(&main);
    stall.watch("background", background.handle());
    background.spawn(blocking(&stall, "import"));
    let seen = the_stall(&stall);
    assert_eq!((&*seen.runtime, seen.workers), ("background", 3));
    // Not announced: it is met when a marked future shows up on it.
    third.block_on(blocking(&stall, "late"));
    let is_late = |stall: &tower_stall::Stall| stall.handler == "late";
    let seen = own(&stall).into_iter().find(is_late).expect("it was shown");
    assert_eq!((&*seen.runtime, seen.worker), ("runtime-2", Some(0)));
    let metrics = scrape(&stall);
    assert_eq!(metrics.value("tokio_workers", &[r#"runtime="background""#]), 3.0);
    assert_eq!(metrics.value("tokio_workers", &[r#"runtime="runtime-2""#]), 1.0);
}

#[test]
fn a_runtime_that_ended_is_let_go_of() {
    let main = multi_thread(2);
    let stall = detector(&main);
    let short = multi_thread(2);
    stall.watch("short", short.handle());
    let short_labels = [r#"runtime="short""#];
    wait_for(LIMIT, || scrape(&stall).get("tokio_event_loop_heartbeat_age_seconds", &short_labels));
    drop(short);
    wait_for(LIMIT, || {
        let metrics = scrape(&stall);
        let zero = |name| metrics.value(name, &short_labels) == 0.0;
        (zero("tokio_workers") && zero("tokio_event_loop_heartbeat_age_seconds")).then_some(())
    });
    block(ms(300));
    let metrics = scrape(&stall);
    assert_eq!(metrics.value("tokio_workers_saturated", &short_labels), 0.0);
    metrics.assert_not_frozen(short_labels[0]);
    assert_none(&stall);
}

#[test]
fn a_runtime_that_is_given_up_while_it_is_stuck_does_not_end_the_process() {
    let main = multi_thread(2);
    let stall = {
        let _inside = main.enter();
        let builder = StallDetector::builder().dead_after(LIMIT).unready_after(ms(500));
        builder.admin(([127, 0, 0, 1], 0)).start().expect("a detector")
    };
    let given_up = multi_thread(2);
    let (release, is_released) = std::sync::mpsc::channel::<()>();
    let is_released = std::sync::Arc::new(std::sync::Mutex::new(is_released));
    for _ in 0..2 {
        let is_released = std::sync::Arc::clone(&is_released);
        // It is not announced: its first marked poll shows it.
        given_up.spawn(stall.watched("import", async move {
            let _ = is_released.lock().expect("no panic").recv_timeout(3 * LIMIT);
        }));
    }
    let name = wait_for(LIMIT, || Some(own(&stall).first()?.runtime.to_string()));
    let label = format!("runtime={name:?}");
    assert_eq!(scrape(&stall).value("tokio_workers", &[&label]), 2.0);
    // It is stuck, and counts until it is given up.
    wait_for(LIMIT, || stall.health().to_string().contains(&name).then_some(()));
    given_up.shutdown_background();
    wait_for(LIMIT, || {
        assert!(stall.health().is_live(), "{}", stall.health());
        stall.health().is_ready().then_some(())
    });
    wait_for(LIMIT, || (scrape(&stall).value("tokio_workers", &[&label]) == 0.0).then_some(()));
    // The one that is not given up is still watched.
    main.block_on(main.spawn(blocking(&stall, "later"))).expect("no panic");
    assert!(own(&stall).iter().any(|stall| stall.handler == "later"));
    drop(release);
}

#[test]
fn the_detector_adds_one_task_and_takes_it_away() {
    let runtime = multi_thread(2);
    let alive = || runtime.metrics().num_alive_tasks();
    assert_eq!(alive(), 0);
    let stall = detector(&runtime);
    wait_for(LIMIT, || (alive() == 1).then_some(()));
    drop(stall);
    wait_for(LIMIT, || (alive() == 0).then_some(()));
}

#[test]
fn a_runtime_under_watch_shuts_down_as_it_would_without() {
    for runtime in [multi_thread(2), current_thread()] {
        let stall = detector(&runtime);
        let start = Instant::now();
        drop(runtime);
        assert!(start.elapsed() < LIMIT);
        drop(stall);
    }
}

#[test]
fn a_detector_can_go_before_its_layers_and_futures() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let layer = stall.layer();
    let future = stall.watched("orphan", async { block(ms(150)) });
    drop(stall);
    runtime.block_on(async { tokio::spawn(future).await.expect("no panic") });
    drop(layer);
}

#[test]
fn a_detector_can_be_dropped_on_the_runtime_it_watches() {
    for runtime in [multi_thread(1), current_thread()] {
        let stall = detector(&runtime);
        let start = Instant::now();
        runtime.block_on(async move { drop(stall) });
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[test]
fn a_second_detector_on_a_runtime_starts_where_the_first_ended() {
    let runtime = multi_thread(2);
    for round in 0..3 {
        let stall = detector(&runtime);
        runtime.spawn(blocking(&stall, "round"));
        let stalls = ended(&stall);
        let handlers: Vec<_> = stalls.iter().map(|stall| &*stall.handler).collect();
        assert_eq!(handlers, ["round"], "round {round}");
    }
}

#[test]
fn outside_a_runtime_there_is_nothing_to_watch() {
    let error = StallDetector::builder().start().expect_err("no runtime");
    assert!(error.to_string().contains("outside a Tokio runtime"), "{error}");
}
