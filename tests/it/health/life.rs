//! `/livez` and `/readyz` from the start to the end.

use std::time::{Duration, Instant};

use tower_stall::{Health, Readiness, StallDetector};
use tracing::Level;

use super::MS;
use crate::support::events::Events;
use crate::support::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_service_is_ready_with_its_first_heartbeat() {
    // A current-thread runtime does nothing until somebody drives it.
    let rig = Rig::new(0, |builder| builder);
    rig.wait_until_told("/readyz", 503, "not ready: runtime \"main\" has not had its first heart");
    assert_eq!(rig.probe("/livez"), (200, "ok\n".to_owned()));
    let ready = || rig.stall.health().is_ready();
    assert!(!ready());
    let start = Instant::now();
    rig.runtime.block_on(async {
        while !ready() && start.elapsed() < LIMIT {
            tokio::time::sleep(5 * MS).await;
        }
    });
    assert_eq!(rig.probe("/readyz"), (200, "ok\n".to_owned()));
}

#[test]
fn a_runtime_without_timers_is_ready_like_any() {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).build().expect("a runtime");
    let start = async { StallDetector::builder().admin(([127, 0, 0, 1], 0)).start() };
    let stall = runtime.block_on(start).expect("a detector");
    wait_until(LIMIT, || stall.health().is_ready());
    assert_eq!(fetch(stall.admin_addr().expect("it"), "/readyz").0, 200);
}

#[test]
fn one_stalled_worker_of_several_is_told_and_nothing_more() {
    let rig = Rig::new(4, |builder| builder);
    rig.wait_until_told("/readyz", 200, "ok");
    assert_eq!(rig.probe("/livez"), (200, "ok\n".to_owned()));
    let (gate, _opener) = rig.block_workers(1, "import");
    let told = rig.wait_until_told("/livez", 200, "degraded: import has blocked worker ");
    assert!(told.contains("of runtime \"main\" for ") && told.contains(" of 4 workers"), "{told}");
    assert!(told.contains("sleep"), "{told}");
    let (_, json) = rig.probe("/livez?format=json");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["status"], "degraded");
    assert!(json["reason"].as_str().is_some_and(|reason| reason.starts_with("import has ")));
    assert_eq!(rig.probe("/readyz").0, 200);
    gate.open();
    rig.wait_until_told("/livez", 200, "ok");
}

#[test]
fn a_short_freeze_does_not_flap_and_a_long_one_takes_readiness() {
    let rig = Rig::new(2, |builder| builder.threshold(20 * MS).unready_after(2 * SECOND));
    rig.wait_until_told("/readyz", 200, "ok");
    let (gate, _opener) = rig.block_workers(2, "short");
    let begin = Instant::now();
    while begin.elapsed() < 150 * MS {
        assert_eq!(rig.probe("/readyz").0, 200);
    }
    gate.open();
    let freezes = || rig.metric("tokio_workers_stalled", &[]) == Some(0.0);
    wait_until(LIMIT, freezes);

    let (gate, _opener) = rig.block_workers(2, "long");
    let begin = Instant::now();
    rig.wait_until_told("/readyz", 503, "not ready: runtime \"main\" has been frozen for ");
    assert!(begin.elapsed() >= 1900 * MS, "not before its time: {:?}", begin.elapsed());
    assert_eq!(rig.probe("/livez").0, 200);
    assert!(rig.stall.health().is_live() && !rig.stall.health().is_ready());
    gate.open();
    let opened = Instant::now();
    rig.wait_until_told("/readyz", 503, "was frozen a moment ago");
    rig.wait_until_told("/readyz", 200, "ok");
    assert!(opened.elapsed() >= 1900 * MS, "well for two seconds: {:?}", opened.elapsed());
}

#[test]
fn a_service_may_stay_in_rotation_while_it_is_frozen() {
    let rig =
        Rig::new(1, |builder| builder.unready_after(100 * MS).readiness(Readiness::StartAndDrain));
    rig.wait_until_told("/readyz", 200, "ok");
    let (_gate, _opener) = rig.block_workers(1, "import");
    rig.wait_until_told("/livez", 200, "the only worker is stalled");
    // By then it would have been told.
    wait_until(LIMIT, || rig.metric("tokio_stall_in_progress_seconds", &[]) >= Some(1.0));
    assert_eq!(rig.probe("/readyz").0, 200);
    rig.stall.drain();
    assert_eq!(rig.probe("/readyz"), (503, "not ready: draining\n".to_owned()));
}

#[test]
fn an_endless_deadlock_is_dead_at_its_time_and_says_why() {
    let log = Events::default();
    let rig = log.with(|| Rig::new(2, |builder| builder.dead_after(3 * SECOND)));
    rig.wait_until_told("/readyz", 200, "ok");
    let (gate, _opener) = rig.block_workers(2, "deadlock");
    let begin = Instant::now();
    while begin.elapsed() < 2500 * MS {
        let (status, told) = rig.probe("/livez");
        assert!(status == 200 || begin.elapsed() >= 2900 * MS, "{:?}: {told}", begin.elapsed());
    }
    let told = rig.wait_until_told("/livez", 503, "dead: runtime \"main\" has been frozen for ");
    assert!(told.contains(": deadlock has blocked worker "), "{told}");
    assert!(begin.elapsed() >= 2900 * MS, "not before its time: {:?}", begin.elapsed());
    assert!(!rig.stall.health().is_live());

    let dead = wait_for(LIMIT, || log.named("dead").pop());
    assert_eq!(dead.level, Level::ERROR);
    assert_eq!((dead.field("runtime"), dead.field("handler")), ("main", "deadlock"));
    assert!(dead.number("frozen_ms") >= 2900, "{dead:?}");
    let frozen = format!("is dead, frozen for {}", dead.number("frozen_ms") / 1000);
    assert!(dead.message().contains(&frozen), "{dead:?}");
    let stalls = rig.stall.stalls();
    let told = stalls.iter().find(|stall| dead.field("stall") == stall.id.to_string());
    // On a busy machine there may have been no time for one.
    if told.expect("its record").stack.is_some() {
        assert!(dead.field("stack").contains("Gate"), "{dead:?}");
        assert!(dead.field("code.function.name").contains("Gate"), "{dead:?}");
    }
    // Said once, and taken back when it is over.
    gate.open();
    rig.wait_until_told("/livez", 200, "ok");
    assert_eq!(log.named("dead").len(), 1);
}

#[test]
fn a_runtime_that_still_runs_tasks_is_not_dead() {
    let rig =
        Rig::new(2, |builder| builder.dead_after(SECOND).rescue(false).unready_after(200 * MS));
    rig.wait_until_told("/readyz", 200, "ok");
    // Ticks are missing: that is a freeze.
    let frozen = || !rig.stall.health().is_ready();
    let (_gate, _opener) = rig.block_the_driver("import", frozen);
    wait_until(LIMIT, || {
        assert_eq!(rig.probe("/livez").0, 200);
        rig.metric("tokio_stall_in_progress_seconds", &[]) >= Some(4.0)
    });
}

#[test]
fn a_runtime_may_be_left_out() {
    let log = Events::default();
    let rig =
        log.with(|| Rig::new(2, |builder| builder.dead_after(3 * SECOND).unready_after(SECOND)));
    rig.wait_until_told("/readyz", 200, "ok");
    let numbers = runtime(1);
    rig.stall.watch_with("numbers", numbers.handle(), Health::Ignore);
    let gate = super::Gate::default();
    let (held, _opener) = (gate.clone(), gate.opener());
    numbers.spawn(rig.stall.watched("primes", async move {
        while !held.load(std::sync::atomic::Ordering::SeqCst) {
            std::hint::spin_loop();
        }
    }));
    let labels = [("runtime", "numbers")];
    wait_until(LIMIT, || {
        assert_eq!(rig.probe("/readyz").0, 200);
        let (status, told) = rig.probe("/livez");
        assert_eq!(status, 200, "{told}");
        rig.metric("tokio_stall_in_progress_seconds", &labels) >= Some(6.0)
    });
    assert!(rig.probe("/livez").1.contains("degraded: primes has blocked"));
    assert!(log.named("dead").is_empty());
}

#[test]
fn a_runtime_that_has_ended_is_nobody_s_trouble() {
    let rig =
        Rig::new(2, |builder| builder.unready_after(200 * MS).dead_after(SECOND).admin(ALONE));
    let second = runtime(1);
    rig.stall.watch("second", second.handle());
    rig.wait_until_told("/readyz", 200, "ok");
    let labels = [("runtime", "second")];
    // A gauge that was shown is shown as 0 afterwards.
    wait_until(LIMIT, || rig.metric("tokio_workers", &labels) == Some(1.0));
    wait_until(LIMIT, || rig.metric("tokio_workers", &[("runtime", "main")]) == Some(2.0));
    second.shutdown_background();
    wait_until(LIMIT, || rig.metric("tokio_workers", &labels) == Some(0.0));
    let Rig { stall, runtime } = rig;
    drop(runtime);
    let admin = stall.admin_addr().expect("it is still there");
    wait_until(LIMIT, || find(&scrape(admin), "tokio_workers", &["runtime=\"main\""]) == Some(0.0));
    let later = Instant::now();
    while later.elapsed() < 1500 * MS {
        assert_eq!((fetch(admin, "/readyz").0, fetch(admin, "/livez").0), (200, 200));
    }
    drop(stall);
    assert!(client().get(format!("http://{admin}/livez")).call().is_err(), "nobody listens");
}
