//! The routes of probes: what they answer, and that nothing holds them up.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::*;

#[test]
fn checks_of_the_user_decide_too() {
    let rig = Rig::new(1, |builder| builder);
    rig.wait_until_told("/readyz", 200, "ok");
    let up = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&up);
    rig.stall.ready_when(move || asked.load(SeqCst));
    assert_eq!(rig.probe("/readyz"), (503, "not ready: ready_when says no\n".to_owned()));
    let (_, json) = rig.probe("/readyz?verbose&format=json");
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["status"], "not ready");
    assert_eq!(json["reason"], "ready_when says no");
    up.store(true, SeqCst);
    assert_eq!(rig.probe("/readyz"), (200, "ok\n".to_owned()));
    let (_, json) = rig.probe("/readyz?format=json");
    let mut json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    // This test has no subscriber, which may be told by now.
    assert!(json["notices"].take().is_array());
    let ok = serde_json::json!({ "status": "ok", "reason": null, "faults": [], "notices": null });
    assert_eq!(json, ok);
}

#[test]
fn a_check_that_hangs_holds_up_nothing_else() {
    let rig = Rig::new(1, |builder| builder);
    rig.wait_until_told("/readyz", 200, "ok");
    let lock = Arc::new(Mutex::new(()));
    let wanted = Arc::clone(&lock);
    rig.stall.ready_when(move || wanted.lock().is_ok());
    let held = lock.lock().expect("no panic");
    let begin = Instant::now();
    let admin = rig.stall.admin_addr().expect("an admin server");
    let probes: Vec<_> =
        (0..8).map(|_| std::thread::spawn(move || fetch(admin, "/readyz"))).collect();
    while probes.iter().any(|probe| !probe.is_finished()) {
        assert_eq!(rig.probe("/livez").0, 200);
        assert_eq!(rig.probe("/metrics").0, 200);
        assert!(begin.elapsed() < LIMIT);
    }
    for probe in probes {
        let told = probe.join().expect("no panic");
        assert_eq!(told, (503, "not ready: ready_when has not answered within 1 s\n".to_owned()));
    }
    assert!(begin.elapsed() >= Duration::from_secs(1));
    drop(held);
    rig.wait_until_told("/readyz", 200, "ok");
}

#[test]
fn who_asks_during_a_check_gets_its_answer() {
    const PROBES: usize = 8;
    let rig = Rig::new(1, |builder| builder);
    rig.wait_until_told("/readyz", 200, "ok");
    let (runs, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let (counted, opened) = (Arc::clone(&runs), Arc::clone(&open));
    rig.stall.ready_when(move || {
        counted.fetch_add(1, SeqCst);
        while !opened.load(SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    });
    let admin = rig.stall.admin_addr().expect("an admin server");
    // Once more where the machine was so busy that some came after the check or waited for a second.
    wait_until(LIMIT, || {
        runs.store(0, SeqCst);
        open.store(false, SeqCst);
        let probes: Vec<_> =
            (0..PROBES).map(|_| std::thread::spawn(move || fetch(admin, "/readyz"))).collect();
        std::thread::sleep(Duration::from_millis(200));
        open.store(true, SeqCst);
        let all = probes.into_iter().map(|probe| probe.join().expect("no panic").0);
        let well = all.filter(|status| *status == 200).count();
        (well, runs.load(SeqCst)) == (PROBES, 1)
    });
}

#[test]
fn probes_are_answered_while_every_worker_is_blocked() {
    let rig = Rig::new(2, |builder| builder);
    rig.wait_until_told("/readyz", 200, "ok");
    let (gate, _opener) = rig.block_workers(2, "import");
    rig.wait_until_told("/readyz", 503, "frozen");
    for path in ["/livez", "/readyz", "/metrics", "/livez?format=json"] {
        let begin = Instant::now();
        rig.probe(path);
        // Some milliseconds, on a quiet machine. The workers are blocked for far longer.
        assert!(begin.elapsed() < LIMIT / 4, "{path} took {:?}", begin.elapsed());
    }
    let (status, told) = rig.probe("/elsewhere");
    assert_eq!((status, told.contains("/livez")), (404, true));
    gate.open();
}

#[test]
fn a_detector_that_is_switched_off_is_alive_and_ready_until_it_drains() {
    child::run(
        "health::routes::a_detector_that_is_switched_off_is_alive_and_ready_until_it_drains",
        &[("TOWER_STALL", "off")],
        || {
            let rig = Rig::new(0, |builder| builder);
            assert_eq!(rig.probe("/livez"), (200, "ok\n".to_owned()));
            assert_eq!(rig.probe("/readyz"), (200, "ok\n".to_owned()));
            rig.stall.ready_when(|| false);
            assert_eq!(rig.probe("/readyz").0, 503);
            rig.stall.drain();
            assert_eq!(rig.probe("/readyz"), (503, "not ready: draining\n".to_owned()));
            assert_eq!(rig.probe("/livez").0, 200);
        },
    );
}

#[test]
fn operators_set_patience_without_a_build() {
    let variables = [
        ("TOWER_STALL_UNREADY_AFTER", "150ms"),
        ("TOWER_STALL_READY_AFTER", "1ms"),
        ("TOWER_STALL_DEAD_AFTER", "600ms"),
    ];
    child::run("health::routes::operators_set_patience_without_a_build", &variables, || {
        let rig = Rig::new(1, |builder| builder);
        rig.wait_until_told("/readyz", 200, "ok");
        let (gate, _opener) = rig.block_workers(1, "import");
        rig.wait_until_told("/readyz", 503, "frozen");
        rig.wait_until_told("/livez", 503, "dead: ");
        gate.open();
        rig.wait_until_told("/livez", 200, "ok");
        rig.wait_until_told("/readyz", 200, "ok");
    });
}
