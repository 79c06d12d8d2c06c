//! The admin server under slow, broken and many clients.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{LIMIT, Rig, scrape, wait_until};

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
    // More of them than there are places: the page comes once the first ones are gone.
    slow.extend((0..200).map(|_| connect(address)));
    assert!(scrape(address).contains("tower_stall_build_info"));
    let mut first = slow.swap_remove(0);
    let mut rest = Vec::new();
    let ended = first.read_to_end(&mut rest);
    assert!(
        ended.is_ok() || ended.is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
    );
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
