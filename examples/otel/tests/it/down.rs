//! A receiver that is not there, or does not answer: nothing of the service waits for it, and what
//! is lost is told and counted.

use std::net::TcpListener;
use std::time::Duration;

use super::support::{Receiver, Service, get, python};
use super::waiting::wait_for;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// Far below the 10 s that a request to the receiver may take.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Four requests that each block a worker for a second, both workers at a time; what each took.
fn block_all(service: &Service) -> Vec<Duration> {
    let block = |_| {
        let url = service.url.clone();
        std::thread::spawn(move || get(&url, "/blocking?ms=1000", None))
    };
    let blocked: Vec<_> = (0..4).map(block).collect();
    let took = blocked.into_iter().map(|request| request.join().expect("no panic")).collect();
    wait_for(|| (!service.logged("2 of 2 workers stalled").is_empty()).then_some(()));
    took
}

#[test]
fn nothing_waits_for_a_receiver_that_does_not_answer() {
    // Connections wait in its backlog for ever.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let service = Service::start(&format!("http://{}", silent.local_addr().expect("an address")));
    service.get("/hello", None);
    // From here on both exporters wait for an answer.
    silent.set_nonblocking(true).expect("a socket");
    let _exporters = [0; 2].map(|_| wait_for(|| silent.accept().ok()));

    for took in block_all(&service) {
        assert!(took < Duration::from_secs(4) + AT_ONCE, "{took:?}");
    }
    for _ in 0..100 {
        let took = service.get("/hello", None);
        assert!(took < AT_ONCE, "{took:?}");
    }
    let (status, took, errors, log) = service.end();
    assert!(status.success(), "{errors}");
    // What the kubelet gives it.
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert!(log.iter().any(|line| line.contains("the last spans are lost")), "{log:#?}");
}

#[test]
fn spans_lost_while_nobody_listens_are_told_once_and_counted() {
    let Some(python) = python() else { return };
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = free.local_addr().expect("an address");
    drop(free);
    let service = Service::start(&format!("http://{address}"));
    for took in block_all(&service) {
        assert!(took < Duration::from_secs(4) + AT_ONCE, "{took:?}");
    }
    let failing = "the receiver does not take spans";
    wait_for(|| (!service.logged(failing).is_empty()).then_some(()));
    assert!(!service.logged("stall_started").is_empty(), "the log goes on");

    let receiver = Receiver::start(&python, address.port());
    // Its counters have what happened before.
    wait_for(|| (receiver.stalls("GET /blocking") >= 2).then_some(()));
    // And spans go out again.
    let caller = format!("00-{TRACE}-b7ad6b7169203331-01");
    service.get("/blocking?ms=300", Some(&caller));
    wait_for(|| receiver.got().into_iter().find(|got| got["trace"] == TRACE));
    let (status, _, errors, log) = service.end();
    assert!(status.success(), "{errors}");
    // Each span was received or counted as lost: five requests, and the stalls.
    wait_for(|| {
        let lost = receiver.got().into_iter().rfind(|got| got["metric"] == "otlp_spans_lost_total");
        let lost = lost.and_then(|point| point["value"].as_u64()).filter(|lost| *lost > 0)?;
        let spans = lost + receiver.spans("").len() as u64;
        // One that was the environment's at first is counted twice.
        let stalls = receiver.stalls("GET /blocking")..=receiver.stalls("");
        stalls.contains(&spans.checked_sub(5)?).then_some(())
    });
    for (part, times) in [
        (failing, 1),
        ("the receiver takes spans again", 1),
        ("the receiver does not take metrics", 1),
        ("the receiver takes metrics again", 1),
        ("ExportError", 0),
    ] {
        assert_eq!(log.iter().filter(|line| line.contains(part)).count(), times, "{part}");
    }
}
