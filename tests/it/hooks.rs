//! What a user's hook hears, and what it may do.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use tower_stall::{OnStall, Stall, StallDetector};

use crate::support::{LIMIT, Rig, THRESHOLD, block_until, runtime, wait_for, wait_until};

fn calls() -> (impl OnStall, Receiver<Stall>) {
    let (sender, receiver) = channel();
    (
        move |stall: &Stall| {
            let _ = sender.send(stall.clone());
        },
        receiver,
    )
}

/// The next call for that handler.
#[track_caller]
fn next(calls: &Receiver<Stall>, handler: &str) -> Stall {
    loop {
        let call = calls.recv_timeout(LIMIT).expect("the hook is called");
        if call.handler == handler {
            return call;
        }
    }
}

#[test]
fn a_hook_is_called_at_the_start_and_at_the_end() {
    let (hook, calls) = calls();
    let rig = Rig::new(2, |builder| builder.on_stall(hook).on_stall(()));
    let block = rig.block("import");
    rig.run(rig.stall.watched("import", async move { block.run() }));
    let started = next(&calls, "import");
    let ended = next(&calls, "import");
    assert!(started.in_progress && !ended.in_progress);
    assert_eq!(started.id, ended.id);
    assert!(started.duration >= THRESHOLD && ended.duration >= started.duration);
    assert_eq!(rig.one_stall("import").duration, ended.duration);
}

#[test]
fn a_hook_that_panics_hurts_nobody() {
    let (hook, calls) = calls();
    let rig =
        Rig::new(2, |builder| builder.on_stall(|_: &Stall| panic!("on purpose")).on_stall(hook));
    for name in ["first", "second"] {
        let block = rig.block(name);
        rig.run(rig.stall.watched(name, async move { block.run() }));
        assert!(next(&calls, name).in_progress);
        assert!(!next(&calls, name).in_progress);
    }
    assert_eq!(rig.long_stalls().len(), 2);
}

#[test]
fn a_hook_may_look_at_the_detector() {
    let seen: Arc<Mutex<Option<Arc<StallDetector>>>> = Arc::default();
    let (tell, told): (Sender<bool>, _) = channel();
    let detector = Arc::clone(&seen);
    let rig = Rig::new(2, |builder| {
        builder.on_stall(move |stall: &Stall| {
            let detector = detector.lock().expect("no panic").clone();
            let in_ring = detector
                .is_some_and(|detector| detector.stalls().iter().any(|known| known.id == stall.id));
            let _ = tell.send(in_ring);
        })
    });
    *seen.lock().expect("no panic") = Some(Arc::clone(&rig.stall));
    let block = rig.block("import");
    rig.run(rig.stall.watched("import", async move { block.run() }));
    assert_eq!(told.recv_timeout(LIMIT), Ok(true), "the store has it before the hook");
    // A hook that holds its own detector would keep it for ever.
    *seen.lock().expect("no panic") = None;
}

#[test]
fn a_hook_may_drop_the_detector() {
    let owner: Arc<Mutex<Option<StallDetector>>> = Arc::default();
    let (tell, told) = channel();
    let runtime = runtime(2);
    let taken = Arc::clone(&owner);
    let hook = move |_: &Stall| {
        drop(taken.lock().expect("no panic").take());
        let _ = tell.send(());
    };
    let builder = StallDetector::builder().threshold(THRESHOLD).on_stall(hook);
    let stall = runtime.block_on(async { builder.start() }).expect("a detector");
    let owned = Arc::clone(&owner);
    let blocking = stall.watched("import", async move {
        block_until(|| owned.lock().expect("no panic").is_none());
    });
    *owner.lock().expect("no panic") = Some(stall);
    runtime.block_on(runtime.spawn(blocking)).expect("no panic");
    told.recv_timeout(LIMIT).expect("the drop came back");
    wait_for(LIMIT, || owner.lock().expect("no panic").is_none().then_some(()));
}

#[test]
fn a_hook_that_is_stuck_shows_while_it_is() {
    let (held, release) = channel::<()>();
    let release = Mutex::new(release);
    let stuck = move |_: &Stall| assert!(release.lock().expect("no panic").recv().is_err());
    let rig = Rig::new(2, |builder| builder.on_stall(stuck));
    let up = || rig.metric("tower_stall_thread_up", &[("thread", "stall-reporter")]);
    wait_until(LIMIT, || up() == Some(1.0));
    rig.block_twice();
    wait_until(LIMIT, || up() == Some(0.0));
    let health = rig.stall.health();
    assert!(health.is_live() && health.is_ready(), "{health:?}");
    let of_reporter = |fault: &String| fault.starts_with("stall-reporter has been stuck for ");
    // On a busy machine names may take as long.
    assert_eq!(health.faults.iter().filter(|fault| of_reporter(fault)).count(), 1, "{health:?}");
    drop(held);
    wait_until(LIMIT, || up() == Some(1.0) && rig.stall.health().faults.is_empty());
}
