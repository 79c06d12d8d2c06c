//! Who sees the pages and the reasons of probes: foreign names and addresses and who comes by a proxy do not.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};

use crate::support::needs::skip;
use crate::support::{LIMIT, Rig, wait_until};

const PAGES: [&str; 8] = [
    "/stalls",
    "/stalls.json",
    "/stalls/1",
    "/stalls/1.md",
    "/flamegraph.svg",
    "/stalls.folded",
    "/debug/pprof/stalls",
    "/stalls.firefox.json",
];
const OTHERS: [&str; 3] = ["/metrics", "/livez", "/readyz"];

/// The status and the whole answer to a request with that Host.
fn ask(address: SocketAddr, path: &str, host: &str) -> (u16, String) {
    ask_with(address, path, &format!("Host: {host}"))
}

/// The same with these headers.
fn ask_with(address: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
    let request = format!("GET {path} HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n");
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

/// The body of `/readyz`, of a process that is not ready.
#[track_caller]
fn ask_why(address: SocketAddr, query: &str, headers: &str) -> String {
    let (status, answer) = ask_with(address, &format!("/readyz{query}"), headers);
    assert_eq!(status, 503, "{answer}");
    answer.split_once("\r\n\r\n").expect("a head").1.to_owned()
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

#[test]
fn who_comes_by_a_proxy_on_this_machine_sees_no_page() {
    let rig = Rig::new(1, |builder| builder);
    let admin = rig.stall.admin_addr().expect("an admin server");
    let proxies = [
        "Forwarded: for=evil",
        "X-Forwarded-For: evil",
        "x-forwarded-proto: https",
        "X-Real-IP: evil",
        "Via: 1.1 evil",
    ];
    for proxy in proxies {
        let headers = format!("Host: localhost\r\n{proxy}");
        for path in PAGES {
            let (status, answer) = ask_with(admin, path, &headers);
            assert_eq!(status, 403, "{path} by {proxy}: {answer}");
            assert!(answer.contains("TOWER_STALL_PAGES_PUBLIC=true"), "what to do: {answer}");
            assert!(!answer.contains("evil"), "nothing of the request comes back: {answer}");
        }
        assert_eq!(ask_with(admin, "/metrics", &headers).0, 200, "metrics are for all");
    }
    let open = Rig::new(1, |builder| builder.pages_public(true));
    let open = open.stall.admin_addr().expect("an admin server");
    assert_eq!(ask_with(open, "/stalls", "Host: x\r\nVia: 1.1 proxy").0, 200);
}

#[test]
fn probes_tell_their_reason_to_who_sees_the_pages() {
    let (told, status) = ("not ready: ready_when says no\n", "not ready\n");
    let json = |reason: Option<&str>| serde_json::json!({ "status": "not ready", "reason": reason, "faults": [] });
    let ask_json = |address, headers| {
        let answer = ask_why(address, "?format=json", headers);
        let mut answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        // This test has no subscriber, which may be told by now.
        answer.as_object_mut().and_then(|fields| fields.remove("notices")).expect("a list");
        answer
    };
    let everywhere = (Ipv4Addr::UNSPECIFIED, 0);
    let rig = Rig::new(1, |builder| builder.admin(everywhere));
    let open = Rig::new(1, |builder| builder.admin(everywhere).pages_public(true));
    for rig in [&rig, &open] {
        wait_until(LIMIT, || rig.stall.health().is_ready());
        rig.stall.ready_when(|| false);
    }
    let port = |rig: &Rig| rig.stall.admin_addr().expect("an admin server").port();
    let local = |rig: &Rig| SocketAddr::from((Ipv4Addr::LOCALHOST, port(rig)));
    let here = "Host: localhost";
    assert_eq!(ask_why(local(&rig), "", here), told);
    assert_eq!(ask_json(local(&rig), here), json(Some("ready_when says no")));
    for headers in ["Host: evil.example", "Host: localhost\r\nX-Forwarded-For: 10.0.0.7"] {
        assert_eq!(ask_why(local(&rig), "", headers), status, "{headers}");
        assert_eq!(ask_json(local(&rig), headers), json(None), "{headers}");
        assert_eq!(ask_why(local(&open), "", headers), told, "public is public");
    }
    let Some(address) = own_address() else {
        return skip("this machine has no address but loopback");
    };
    assert_eq!(ask_why((address, port(&rig)).into(), "", here), status);
    assert_eq!(ask_why((address, port(&open)).into(), "", here), told);
}
