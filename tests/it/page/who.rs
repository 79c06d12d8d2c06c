//! Who sees the pages: foreign names and addresses do not.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use crate::support::needs::skip;
use crate::support::{LIMIT, Rig};

const PAGES: [&str; 4] = ["/stalls", "/stalls.json", "/stalls/1", "/flamegraph.svg"];
const OTHERS: [&str; 3] = ["/metrics", "/livez", "/readyz"];

/// The status and the whole answer to a request with that Host.
fn ask(address: SocketAddr, path: &str, host: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers and closes");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("a status: {answer}")), answer)
}

/// An address of this machine that is not a loopback one.
fn own_address() -> Option<IpAddr> {
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        // Nothing is sent: it only asks which address would send it.
        socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
        socket.local_addr()
    });
    found.ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}

#[track_caller]
fn is_refused(address: SocketAddr, host: &str) {
    for path in PAGES {
        let (status, answer) = ask(address, path, host);
        assert_eq!(status, 403, "{path} for {host}: {answer}");
        assert!(answer.contains(".pages_public(true)"), "it says what to do: {answer}");
        assert!(!answer.contains("evil"), "nothing of the request comes back: {answer}");
    }
    for path in OTHERS {
        assert_ne!(ask(address, path, host).0, 403, "{path} is for all");
    }
    assert_eq!(ask(address, "/metrics", host).0, 200);
}

#[test]
fn a_name_that_leads_here_by_a_foreign_hand_sees_no_page() {
    let rig = Rig::new(1, |builder| builder);
    let admin = rig.stall.admin_addr().expect("an admin server");
    for host in ["evil.example", "evil.example:9099", "127.0.0.1.evil.example", "<script>evil", ""]
    {
        is_refused(admin, host);
    }
    for host in ["localhost", "localhost:9099", "127.0.0.1", "[::1]:9099"] {
        assert_eq!(ask(admin, "/stalls", host).0, 200, "{host}");
    }
}

#[test]
fn an_address_that_others_reach_shows_no_page_unless_it_is_public() {
    let everywhere = (Ipv4Addr::UNSPECIFIED, 0);
    let rig = Rig::new(1, |builder| builder.admin(everywhere));
    let open = Rig::new(1, |builder| builder.admin(everywhere).pages_public(true));
    let port = |rig: &Rig| rig.stall.admin_addr().expect("an admin server").port();
    let local = |rig: &Rig| SocketAddr::from((Ipv4Addr::LOCALHOST, port(rig)));
    assert_eq!(ask(local(&rig), "/stalls", "localhost").0, 200, "by loopback it is shown");
    assert_eq!(ask(local(&open), "/stalls", "evil.example").0, 200, "public is public");
    let Some(address) = own_address() else {
        return skip("this machine has no address but loopback");
    };
    is_refused((address, port(&rig)).into(), "localhost");
    is_refused((address, port(&rig)).into(), &address.to_string());
    assert_eq!(ask((address, port(&open)).into(), "/stalls", &address.to_string()).0, 200);
}

#[test]
fn both_kinds_of_addresses_are_loopback() {
    let Ok(_) = std::net::TcpListener::bind("[::1]:0") else {
        return println!("skipped: this machine has no IPv6");
    };
    let rig = Rig::new(1, |builder| builder.admin("[::]:0".parse::<SocketAddr>().expect("one")));
    let port = rig.stall.admin_addr().expect("an admin server").port();
    for address in ["127.0.0.1", "[::1]"] {
        let address = format!("{address}:{port}");
        let (status, answer) = ask(address.parse().expect("one"), "/stalls", &address);
        assert_eq!(status, 200, "{address}: {answer}");
    }
    if let Some(address) = own_address() {
        is_refused((address, port).into(), "localhost");
    }
}
