//! The admin server under slow, broken and many clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::support::attack::{Attack, Nuisance, probe};
use crate::support::{LIMIT, Rig, child, metric, runtime, scrape, wait_until};

const DROPPED: &str = "tower_stall_admin_dropped_total";

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    stream
}

/// What the server says to `request` before it closes or the text is long enough.
fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(address);
    // It may close while we still write.
    drop(stream.write_all(request));
    let mut answer = Vec::new();
    drop(stream.take(1 << 20).read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn slow_clients_lose_their_connection_and_the_page_is_served_beside_them() {
    let rig = Rig::new(2, |builder| builder);
    let address = rig.stall.admin_addr().expect("an admin server");
    // They say a word and then nothing.
    let mut slow: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = connect(address);
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Slow: ").expect("it reads");
            stream
        })
        .collect();
    assert!(scrape(address).contains("tower_stall_build_info"));
    assert_eq!(rig.metric(DROPPED, &[]), Some(0.0));
    // More of them than there are places: the first ones give way.
    slow.extend((0..200).map(|_| {
        let mut stream = connect(address);
        stream.write_all(b"G").expect("it reads");
        stream
    }));
    wait_until(LIMIT, || rig.metric(DROPPED, &[]) >= Some(140.0));
    let mut first = slow.swap_remove(0);
    let mut rest = Vec::new();
    let ended = first.read_to_end(&mut rest);
    assert!(
        ended.is_ok() || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    );
}

#[test]
fn who_does_not_send_a_whole_head_in_time_is_dropped_and_counted() {
    let rig = Rig::new(2, |builder| builder);
    let address = rig.stall.admin_addr().expect("an admin server");
    let (mut silent, mut half) = (connect(address), connect(address));
    half.write_all(b"GET /livez HTTP/1.1\r\nHost: loc").expect("it reads");
    for stream in [&mut silent, &mut half] {
        assert_eq!(stream.read(&mut [0; 64]).expect("it closes"), 0);
    }
    wait_until(LIMIT, || rig.metric(DROPPED, &[]) == Some(2.0));
}

#[test]
fn broken_requests_are_refused_and_the_page_is_served_after_them() {
    let rig = Rig::new(2, |builder| builder);
    let address = rig.stall.admin_addr().expect("an admin server");
    let long_head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
    assert!(!answer(address, long_head.as_bytes()).starts_with("HTTP/1.1 200"));
    assert!(
        !answer(address, b"\0\xff\x16\x03\x01 no HTTP at all\r\n\r\n").starts_with("HTTP/1.1 200")
    );
    let post = b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n";
    let refused = answer(address, post);
    assert!(
        refused.starts_with("HTTP/1.1 405") || refused.starts_with("HTTP/1.1 413"),
        "{refused}"
    );
    let other = answer(address, b"GET /<script> HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(!other.contains("<script>"), "{other}");
    let head = answer(address, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200") && head.trim_end().lines().count() < 10, "{head}");
    assert!(scrape(address).contains("tower_stall_build_info"));
}

#[test]
fn a_client_that_does_not_read_holds_nobody_up() {
    let rig = Rig::new(2, |builder| builder);
    let address = rig.stall.admin_addr().expect("an admin server");
    let mut deaf = connect(address);
    deaf.set_write_timeout(Some(Duration::from_millis(200))).expect("a timeout");
    for _ in 0..2000 {
        if deaf.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").is_err() {
            break;
        }
    }
    wait_until(LIMIT, || scrape(address).contains("tower_stall_build_info"));
}

#[test]
fn each_kind_of_attack_leaves_honest_clients_a_place() {
    const CONNECTIONS: usize = 300;
    const PAUSE: Duration = Duration::from_millis(300);
    // For its open files.
    child::run("admin::each_kind_of_attack_leaves_honest_clients_a_place", &[], || {
        let rig = Rig::new(2, |builder| builder);
        let admin = rig.stall.admin_addr().expect("an admin server");
        for kind in Nuisance::ALL {
            let attacker = runtime(1);
            let opened = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&opened);
            attacker.spawn(async move {
                let kinds = &[kind];
                Attack { admin, kinds, connections: CONNECTIONS, pause: PAUSE }.run(&counted).await;
            });
            wait_until(LIMIT, || opened.load(Relaxed) >= CONNECTIONS);
            for _ in 0..20 {
                let waited = probe(admin, LIMIT / 2);
                assert!(
                    matches!(waited, Ok(waited) if waited <= LIMIT / 2),
                    "{kind:?}: {waited:?}"
                );
            }
            attacker.shutdown_background();
        }
        assert!(rig.metric(DROPPED, &[]) > Some(0.0));
    });
}

#[test]
fn a_connection_serves_one_request() {
    let rig = Rig::new(2, |builder| builder);
    let address = rig.stall.admin_addr().expect("an admin server");
    let answer = answer(address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("connection: close"), "it says so: {answer}");
    // One that would keep it is not waited for.
    assert_eq!(metric(&rig.metrics(), DROPPED, &[]), Some(0.0));
}

#[test]
fn a_page_of_the_user_that_blocks_holds_up_no_probe() {
    let (held, release) = std::sync::mpsc::channel::<()>();
    let (entered, has_entered) = std::sync::mpsc::channel();
    let release = std::sync::Mutex::new(release);
    let render = move || {
        entered.send(()).expect("the test listens");
        assert!(release.lock().expect("no panic").recv().is_err());
        String::new()
    };
    let rig = Rig::new(1, |builder| builder.prometheus(render));
    let address = rig.stall.admin_addr().expect("an admin server");
    let scrapes = [0; 3].map(|_| {
        std::thread::spawn(move || {
            answer(address, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        })
    });
    has_entered.recv_timeout(LIMIT).expect("a scrape");
    for _ in 0..20 {
        probe(address, LIMIT).expect("it is live");
    }
    // The page is made once at a time, so that one thread waits and no more.
    for scrape in scrapes {
        let answer = scrape.join().expect("no panic");
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    assert!(has_entered.try_recv().is_err());
    drop(held);
    let answer = answer(address, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(answer.contains("tower_stall_thread_up{thread=\"stall-admin\"} 1"), "{answer}");
}
