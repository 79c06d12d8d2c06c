//! Profiles of a time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;

use super::{admin, handlers, stall};
use crate::support::{LIMIT, Rig, fetch, wait_until};

#[test]
fn a_window_has_what_came_in_it() {
    let rig = Rig::new(2, |builder| builder);
    stall(&rig, "before");
    let mut window = rig.stall.profile_window();
    assert!(window.take().folded().is_empty());
    stall(&rig, "inside");
    let inside = window.take();
    stall(&rig, "after");
    assert_eq!(handlers(&inside.folded()), ["inside".to_owned()].into());
    assert_eq!(handlers(&window.take().folded()), ["after".to_owned()].into());
    let all = ["after", "before", "inside"].map(str::to_owned);
    assert_eq!(handlers(&rig.stall.profile().folded()), all.into());
}

#[test]
fn a_stall_that_lasts_counts_in_each_window_that_it_passes() {
    let rig = Rig::new(2, |builder| builder);
    let mut window = rig.stall.profile_window();
    let block = rig.block("lasts");
    let parts = thread::scope(|scope| {
        scope.spawn(|| rig.run(rig.stall.watched("lasts", async move { block.run() })));
        let mut part = || {
            let mut part = String::new();
            wait_until(LIMIT, || {
                part = window.take().folded();
                !part.is_empty()
            });
            part
        };
        [part(), part()]
    });
    let parts = parts.map(|part| handlers(&part).contains("lasts"));
    assert_eq!(parts, [true, true]);
}

#[test]
fn seconds_give_what_comes_in_that_time() {
    let rig = Rig::new(2, |builder| builder);
    stall(&rig, "before");
    let admin = admin(&rig);
    let (status, text) = thread::scope(|scope| {
        let asked = scope.spawn(|| fetch(admin, "/stalls.folded?seconds=2"));
        // One of them is found in that time, whenever it begins.
        while !asked.is_finished() {
            stall(&rig, "inside");
        }
        asked.join().expect("no panic")
    });
    assert_eq!(status, 200, "{text}");
    assert_eq!(handlers(&text), ["inside".to_owned()].into(), "{text}");
    assert!(fetch(admin, "/stalls.folded").1.contains("before;"));
}

/// A request whose answer is not read yet.
fn ask(rig: &Rig, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(admin(rig)).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    stream
}

/// The code in the first line of an answer.
fn status(mut stream: TcpStream) -> u16 {
    let mut begin = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut begin).expect("an answer");
    let begin = str::from_utf8(&begin).expect("a text");
    begin.rsplit(' ').next().and_then(|status| status.parse().ok()).expect("a status")
}

#[test]
fn few_windows_are_open_at_once_and_nobody_waits_for_them() {
    let rig = Rig::new(1, |builder| builder);
    let path = "/debug/pprof/stalls?seconds=60";
    let mut held: Vec<_> = (0..4).map(|_| ask(&rig, path)).collect();
    // They are there before this one, which would wait otherwise.
    wait_until(LIMIT, || {
        let (status, text) = fetch(admin(&rig), "/stalls.folded?seconds=1");
        assert!(status == 200 || text.contains("four profiles"), "{status}: {text}");
        status == 503
    });
    for path in ["/livez", "/metrics", "/stalls.folded", "/debug/pprof/stalls"] {
        assert_eq!(status(ask(&rig, path)), 200, "{path}");
    }
    // Who goes away leaves the place.
    drop(held.pop());
    wait_until(LIMIT, || fetch(admin(&rig), "/stalls.folded?seconds=1").0 == 200);
}
