//! A poll that lasts and goes on to block somewhere else.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tower_stall::{Cause, Degree, Holder, LaterSample, Stall};

use crate::support::events::Events;
use crate::support::*;

/// Before the first later look, which comes after 1.6 s.
const FIRST: Duration = Duration::from_millis(500);

#[inline(never)]
fn pause(time: Duration) {
    sleep(time);
}

#[inline(never)]
fn take(lock: &Mutex<()>) {
    drop(lock.lock().unwrap_or_else(PoisonError::into_inner));
}

#[inline(never)]
fn hold(lock: &Mutex<()>, until: impl Fn() -> bool) {
    let _guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    while !until() {
        sleep(Duration::from_millis(25));
    }
}

/// The stall of that handler, once it is over and complete.
fn complete(rig: &Rig, handler: &str) -> Stall {
    wait_for(LIMIT, || {
        let mut stalls = rig.stall.stalls().into_iter().filter(is_own);
        stalls.find(|stall| stall.handler == handler && stall.is_complete())
    })
}

fn function(later: &LaterSample) -> Option<&str> {
    later.site.as_ref().map(|site| site.function.as_str())
}

#[test]
fn what_a_poll_does_later_is_told_beside_what_it_did_first() {
    let events = Events::default();
    let rig = events.with(|| Rig::new(2, |builder| builder));
    let lock = Arc::new(Mutex::new(()));
    let detector = Arc::clone(&rig.stall);
    // It holds the lock until that is told, or for a while.
    let is_told = {
        let events = events.clone();
        let begin = Instant::now();
        move || !events.named("stall_held_by").is_empty() || begin.elapsed() > 3 * LIMIT
    };
    let held = Arc::clone(&lock);
    let holder = std::thread::spawn(move || hold(&held, is_told));
    wait_until(LIMIT, || lock.try_lock().is_err());
    let waited = Arc::clone(&lock);
    rig.run(detector.watched("moves", async move {
        pause(FIRST);
        take(&waited);
    }));
    holder.join().expect("no panic");

    let stall = complete(&rig, "moves");
    assert_eq!(stall.cause, Cause::Sleep);
    assert_eq!(stall.site.as_ref().map(|site| &*site.function), Some("it::later::pause"));
    let [later] = &stall.later[..] else { panic!("{:#?}", stall.later) };
    assert_eq!((later.cause, function(later)), (Cause::Lock, Some("it::later::take")));
    assert!(later.after >= FIRST && later.after < stall.duration, "{later:#?}");
    assert!(
        later.detail.as_deref().is_some_and(|detail| detail.starts_with("futex")),
        "{later:#?}"
    );
    assert!(later.stack.is_some() && later.awaits.is_some(), "{later:#?}");
    let held_by = later.held_by.as_ref().expect("it was looked for");
    if held_by.degree != Degree::Unknown {
        assert_eq!(held_by.holder, Holder::OtherThread, "{held_by:#?}");
        let holds = held_by.threads[0].site.as_ref().expect("a site");
        assert_eq!(holds.function, "it::later::hold");
    }
    assert_eq!(stall.held_by, None, "of the sleep nobody");

    let [moved] = &events.named("stall_moved")[..] else { panic!("{:#?}", events.all()) };
    assert_eq!(moved.number("stall"), stall.id);
    assert_eq!((moved.field("cause"), moved.field("fix")), ("lock", &*later.fix));
    assert_ne!(later.fix, stall.fix);
    assert_eq!(moved.field("code.function.name"), "it::later::take");
    assert!(moved.message().contains("moves blocks worker"), "{moved:#?}");
    assert!(moved.message().contains(" elsewhere: after "), "{moved:#?}");
    assert!(moved.message().contains(" s lock (futex"), "{moved:#?}");
    let ended = wait_for(LIMIT, || events.named("stall_ended").into_iter().next());
    let places = ["it::later::pause; after ", "it::later::take"];
    assert!(places.iter().all(|place| ended.message().contains(place)), "{ended:#?}");

    let admin = rig.stall.admin_addr().expect("an admin server");
    let json: serde_json::Value =
        serde_json::from_str(&fetch(admin, "/stalls.json").1).expect("JSON");
    let of_json = json["recent"].as_array().expect("a list").iter();
    let of_json = of_json.filter(|recent| recent["id"] == stall.id).collect::<Vec<_>>();
    assert_eq!(of_json[0]["later"][0]["cause"], "lock", "{of_json:#?}");
    for path in [format!("/stalls/{}", stall.id), format!("/stalls/{}.md", stall.id)] {
        let page = fetch(admin, &path).1;
        assert!(page.contains("it::later::pause") && page.contains("it::later::take"), "{page}");
    }
}

#[test]
fn a_poll_that_stays_where_it_is_has_no_later_samples() {
    let events = Events::default();
    let rig = events.with(|| Rig::new(2, |builder| builder));
    rig.run(rig.stall.watched("stays", async { pause(Duration::from_millis(2_500)) }));
    let stall = complete(&rig, "stays");
    assert_eq!((stall.cause, &stall.later[..].len()), (Cause::Sleep, &0), "{stall:#?}");
    assert_eq!(events.named("stall_moved").len(), 0);
}
