//! Blocks that are meant to be there.

use std::time::{Duration, Instant};

use tower_stall::allow_blocking;

use crate::support::{LIMIT, Rig, wait_until};

/// Far above the threshold.
const ALLOWED: Duration = Duration::from_millis(800);

fn sleep() {
    std::thread::sleep(ALLOWED);
}

/// Checks that of all that was allowed nothing shows but its counter, after a further block has
/// shown that the detector looks.
#[track_caller]
fn check(rig: &Rig, name: &str, times: f64) {
    let block = rig.block("witness");
    rig.run(rig.stall.watched("witness", async move { block.run() }));
    rig.one_stall("witness");
    if cfg!(feature = "admin") {
        let count = || rig.metric("tower_stall_allowed_total", &[("name", name)]);
        wait_until(LIMIT, || count() >= Some(times));
        assert_eq!(count(), Some(times));
    }
}

#[test]
fn in_a_task_that_is_watched() {
    let rig = Rig::new(2, |builder| builder);
    rig.run(rig.stall.watched("import", async { allow_blocking("config", sleep) }));
    check(&rig, "config", 1.0);
}

#[test]
fn in_a_plain_task() {
    let rig = Rig::new(2, |builder| builder);
    rig.run(async { allow_blocking("config", sleep) });
    check(&rig, "config", 1.0);
}

#[cfg(all(feature = "admin", feature = "axum"))]
#[test]
fn in_a_handler_under_the_layer() {
    use tower::ServiceExt;

    let rig = Rig::new(2, |builder| builder);
    let handler = axum::routing::get(async || allow_blocking("config", sleep));
    let app = axum::Router::new().route("/import", handler).layer(rig.stall.layer());
    let request = http::Request::get("/import").body(axum::body::Body::empty());
    drop(rig.run(app.oneshot(request.expect("a request"))));
    check(&rig, "config", 1.0);
}

#[test]
fn nested() {
    let rig = Rig::new(2, |builder| builder);
    rig.run(rig.stall.watched("import", async {
        allow_blocking("outer", || {
            sleep();
            allow_blocking("inner", sleep);
            sleep();
        });
    }));
    check(&rig, "outer", 1.0);
    if cfg!(feature = "admin") {
        let inner = rig.metric("tower_stall_allowed_total", &[("name", "inner")]);
        assert_eq!(inner, Some(1.0));
    }
}

#[test]
fn a_panic_inside_ends_it() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("import");
    rig.run(rig.stall.watched("import", async move {
        let panicked =
            std::panic::catch_unwind(|| allow_blocking("config", || panic!("on purpose")));
        assert!(panicked.is_err());
        block.run();
    }));
    rig.one_stall("import");
}

#[test]
fn what_comes_before_and_after_counts_on_its_own() {
    let rig = Rig::new(2, |builder| builder);
    let (before, after) = (rig.block("import"), rig.block("import"));
    let start = Instant::now();
    rig.run(rig.stall.watched("import", async move {
        before.run();
        allow_blocking("config", || std::thread::sleep(ALLOWED * 3));
        after.run();
    }));
    let all = start.elapsed();
    wait_until(LIMIT, || {
        let stalls = rig.long_stalls();
        stalls.len() == 2 && stalls.iter().all(|stall| !stall.in_progress)
    });
    let stalls = rig.long_stalls();
    assert!(stalls.iter().all(|stall| stall.handler == "import"), "{stalls:#?}");
    let counted: Duration = stalls.iter().map(|stall| stall.duration).sum();
    assert!(counted <= all - ALLOWED * 3, "{counted:?} of {all:?}");
}

#[cfg(feature = "admin")]
#[test]
fn a_current_thread_runtime_is_not_frozen_by_it() {
    let rig = Rig::new(0, |builder| builder);
    let ticks = crate::support::THRESHOLD;
    let labels = [("runtime", "main")];
    let frozen = || rig.metric("tokio_frozen_seconds_total", &labels).unwrap_or(0.0);
    rig.run(async move { tokio::time::sleep(ticks).await });
    rig.run(rig.stall.watched("import", async {
        allow_blocking("config", || std::thread::sleep(ALLOWED * 5));
    }));
    rig.run(async move { tokio::time::sleep(ticks).await });
    let allowed = frozen();
    // The same without leave.
    rig.run(rig.stall.watched("import", async { std::thread::sleep(ALLOWED * 5) }));
    rig.run(async move { tokio::time::sleep(ticks).await });
    wait_until(LIMIT, || frozen() >= allowed + 2.0);
    assert!(allowed < 2.0, "{allowed} s of a block of 4 s that is meant to be there");
}

#[test]
fn without_a_detector_the_block_simply_runs() {
    assert_eq!(allow_blocking("nobody looks", || 7), 7);
}

#[cfg(feature = "admin")]
#[test]
fn a_deadlock_of_the_other_workers_is_not_hidden_by_it() {
    let rig = Rig::new(2, |builder| builder.dead_after(ALLOWED * 4).unready_after(ALLOWED));
    let (opens, is_open) = std::sync::mpsc::channel::<()>();
    let health = |is: &dyn Fn(&tower_stall::HealthReport) -> bool| {
        wait_until(LIMIT, || is(&rig.stall.health()));
    };
    health(&|health| health.is_ready());
    rig.runtime.spawn(async move {
        allow_blocking("for ever", || is_open.recv_timeout(3 * LIMIT).is_ok());
    });
    let (releases, is_released) = std::sync::mpsc::channel::<()>();
    let deadlock = rig.stall.watched("import", async move {
        let _ = is_released.recv_timeout(3 * LIMIT);
    });
    rig.runtime.spawn(deadlock);
    health(&|health| !health.is_live() && !health.is_ready());
    drop(releases);
    health(&|health| health.is_live() && health.is_ready());
    drop(opens);
}

#[cfg(feature = "admin")]
#[test]
fn it_is_no_reason_for_ever() {
    let rig = Rig::new(0, |builder| builder.dead_after(ALLOWED * 2));
    let (opens, is_open) = std::sync::mpsc::channel::<()>();
    let stall = std::sync::Arc::clone(&rig.stall);
    let seen = std::thread::spawn(move || {
        wait_until(LIMIT, || !stall.health().is_live());
        drop(opens);
    });
    rig.run(async move {
        tokio::time::sleep(ALLOWED).await;
        allow_blocking("for ever", || is_open.recv_timeout(3 * LIMIT).is_ok());
    });
    seen.join().expect("it is dead after twice that time");
    assert!(rig.long_stalls().is_empty(), "an allowed block is no stall");
}
