//! An idle service: ticks and scans slow down, and nothing is missed for it.
//!
//! The idle interval is so long that what waited for the next slow scan would be seen.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::StallDetector;

use crate::support;
use crate::support::detector::*;

const MAIN: &str = r#"runtime="main""#;
/// Longer than any test takes until it fails.
const LONG: Duration = Duration::from_secs(10);

fn slow_detector(runtime: &Runtime, idle_interval: Duration) -> StallDetector {
    let _inside = runtime.enter();
    let builder = StallDetector::builder().idle_interval(idle_interval);
    builder.admin(([127, 0, 0, 1], 0)).start().expect("a detector")
}

/// Waits until there was no scan for two thirds of a second, in which there are some thirty.
#[track_caller]
fn wait_until_idle(stall: &StallDetector) {
    let scans = || scrape(stall).get("tower_stall_watchdog_scans_total", &[]).unwrap_or(0.0);
    support::wait_until(LIMIT, || {
        let before = scans();
        std::thread::sleep(ms(666));
        before > 0.0 && scans() == before
    });
}

/// Blocks `workers` of the runtime until `seen`, each by a marked poll. Returns how long it took.
#[track_caller]
fn until_seen(
    runtime: &Runtime,
    stall: &StallDetector,
    workers: usize,
    seen: impl Fn() -> bool,
) -> Duration {
    let start = Instant::now();
    let mut releases = Vec::new();
    for _ in 0..workers {
        let (release, is_released) = channel::<()>();
        releases.push(release);
        runtime.spawn(stall.watched("GET /first", async move {
            let _ = is_released.recv_timeout(LIMIT);
        }));
    }
    support::wait_until(LIMIT, &seen);
    start.elapsed()
}

#[test]
fn ticks_and_scans_slow_down_to_a_few_a_second_and_speed_up_again() {
    let runtime = multi_thread(4);
    let stall = detector(&runtime);
    let counts = || {
        let metrics = scrape(&stall);
        let count = |name, labels| metrics.get(name, labels).unwrap_or(0.0);
        let scans = count("tower_stall_watchdog_scans_total", &[]);
        (scans, count("tokio_event_loop_lag_seconds_count", &[MAIN]))
    };
    support::wait_until(LIMIT, || {
        let (scans, ticks) = counts();
        std::thread::sleep(ms(2000));
        let (later_scans, later_ticks) = counts();
        // 80 each at the usual pace, 4 at that of an idle service.
        let (scans, ticks) = (later_scans - scans, later_ticks - ticks);
        (1.0..=14.0).contains(&scans) && (1.0..=14.0).contains(&ticks)
    });
    // One short poll every now and then keeps it awake.
    let (before, start) = (counts(), Instant::now());
    let busy = stall.watched("GET /busy", async move {
        while start.elapsed() < ms(2000) {
            tokio::time::sleep(ms(50)).await;
        }
    });
    runtime.block_on(runtime.spawn(busy)).expect("no panic");
    support::wait_until(LIMIT, || {
        let after = counts();
        after.0 - before.0 >= 30.0 && after.1 - before.1 >= 30.0
    });
    assert_none(&stall);
}

#[test]
fn nobody_is_blamed_while_nothing_is_done() {
    let runtimes = [multi_thread(4), multi_thread(1)];
    let stall = detector(&runtimes[0]);
    stall.watch("other", runtimes[1].handle());
    std::thread::sleep(crate::saturation::seconds());
    assert_none(&stall);
    scrape(&stall).assert_not_frozen(MAIN);
    scrape(&stall).assert_not_frozen(r#"runtime="other""#);
    assert!(runtimes[0].block_on(runtimes[0].spawn(async { true })).expect("no panic"));
}

#[test]
fn a_current_thread_runtime_that_waits_is_idle_too() {
    let runtime = current_thread();
    let stall = slow_detector(&runtime, LONG);
    let (request, requests) = tokio::sync::oneshot::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            runtime.block_on(async {
                requests.await.expect("it is sent");
                stall.watched("GET /first", async { block(ms(500)) }).await;
            });
        });
        wait_until_idle(&stall);
        let start = Instant::now();
        request.send(()).expect("it is waited for");
        let found = ended(&stall).remove(0);
        assert_eq!(found.handler, "GET /first");
        assert!(start.elapsed() < LONG / 2, "found after {:?}", start.elapsed());
    });
}

#[test]
fn the_first_marked_poll_after_an_idle_time_is_found_as_fast_as_any() {
    let runtime = multi_thread(2);
    let stall = slow_detector(&runtime, LONG);
    wait_until_idle(&stall);
    let is_shown = || own(&stall).iter().any(|stall| stall.in_progress);
    let took = until_seen(&runtime, &stall, 1, is_shown);
    assert!(took < LONG / 2, "found after {took:?}");
    let found = ended(&stall).remove(0);
    assert_eq!(found.handler, "GET /first");
    assert!(found.duration <= took + ms(2000), "it is not dated back: {found:?}, {took:?}");
}

#[test]
fn a_thread_without_a_slot_wakes_the_watchdog_too() {
    let runtime = current_thread();
    let stall = slow_detector(&runtime, LONG);
    // Driven for as long as it takes, and then never again.
    runtime.block_on(async { tokio::time::sleep(ms(300)).await });
    wait_until_idle(&stall);
    let other = multi_thread(1);
    stall.watch("other", other.handle());
    let is_shown = || own(&stall).iter().any(|stall| stall.in_progress);
    let took = until_seen(&other, &stall, 1, is_shown);
    assert!(took < LONG / 2, "found after {took:?}");
}

#[test]
fn a_freeze_that_ends_an_idle_time_counts_from_its_begin() {
    for workers in [1, 3] {
        let runtime = multi_thread(workers);
        let stall = slow_detector(&runtime, LONG);
        wait_until_idle(&stall);
        let frozen = || scrape(&stall).value("tokio_frozen_seconds_total", &[MAIN]);
        let stalled = || scrape(&stall).value("tokio_workers_stalled", &[MAIN]);
        let took = until_seen(&runtime, &stall, workers, || {
            frozen() >= 1.0 && stalled() == workers as f64
        });
        assert!(took < LONG / 2, "a second is seen after {took:?}");
        let counted = wait_for(LIMIT, || {
            let metrics = scrape(&stall);
            let age = metrics.value("tokio_event_loop_heartbeat_age_seconds", &[MAIN]);
            let counted = metrics.value("tokio_frozen_seconds_total", &[MAIN]);
            (age < 0.5).then_some(counted)
        });
        let longest = (took + ms(2000)).as_secs_f64();
        assert!(counted <= longest, "{counted} s of {took:?}");
        let late = scrape(&stall).value("tokio_event_loop_lag_seconds_count", &[MAIN])
            - scrape(&stall).value("tokio_event_loop_lag_seconds_bucket", &[MAIN, r#"le="0.5""#]);
        assert!(late >= 10.0, "missing ticks are filled in: {late}");
    }
}

#[test]
fn an_idle_time_is_no_lag_no_freeze_and_no_time_of_a_handler() {
    let runtime = multi_thread(2);
    let stall = slow_detector(&runtime, LONG);
    for _ in 0..2 {
        wait_until_idle(&stall);
        runtime.block_on(runtime.spawn(stall.watched("GET /short", async {}))).expect("no panic");
    }
    let ticks = || scrape(&stall).value("tokio_event_loop_lag_seconds_count", &[MAIN]);
    let before = ticks();
    support::wait_until(LIMIT, || ticks() >= before + 10.0);
    let metrics = scrape(&stall);
    metrics.assert_not_frozen(MAIN);
    let sum = metrics.value("tokio_event_loop_lag_seconds_sum", &[MAIN]);
    assert!(
        sum < LONG.as_secs_f64() / 2.0,
        "no tick waits for the end of the idle interval: {sum}"
    );
    let busy = ["GET /short"].map(|handler| {
        let label = format!("handler={handler:?}");
        metrics.get("tokio_handler_busy_seconds_total", &[&label]).unwrap_or(0.0)
    });
    assert!(busy[0] < 0.5, "the poll that ends an idle time is not as long as that: {busy:?}");
    assert_none(&stall);
}

#[cfg(feature = "capture")]
#[test]
fn a_plain_task_that_blocks_is_seen_at_the_next_slow_scan() {
    let runtime = multi_thread(2);
    let interval = ms(2000);
    let stall = slow_detector(&runtime, interval);
    support::wait_until(LIMIT, || {
        // Which threads run the workers is learned before.
        runtime.block_on(runtime.spawn(async { tokio::time::sleep(ms(100)).await })).is_ok()
    });
    wait_until_idle(&stall);
    let (release, is_released) = channel::<()>();
    runtime.spawn(async move {
        let _ = is_released.recv_timeout(2 * LIMIT);
    });
    let found = wait_for(LIMIT, || own(&stall).into_iter().find(|stall| stall.in_progress));
    assert_eq!(found.handler, "unattributed");
    drop(release);
}
