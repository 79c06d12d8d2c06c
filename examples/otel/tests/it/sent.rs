//! What a receiver gets of a stall.

use std::time::Duration;

use serde_json::{Value, json};
use tower_stall_opentelemetry::METRICS;

use super::support::{Receiver, Service, get, python};
use super::waiting::wait_for;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
/// The detector's.
const THRESHOLD: Duration = Duration::from_millis(100);
/// How long a handler blocks.
const BLOCK: Duration = Duration::from_millis(300);
/// What a poll may take besides, on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

fn duration(span: &Value) -> Duration {
    let at = |edge: &str| span[edge].as_u64().expect("a time");
    Duration::from_nanos(at("end") - at("start"))
}

#[test]
fn a_stall_is_a_span_below_its_request_and_counted_under_the_same_labels() {
    let Some(python) = python() else { return };
    let receiver = Receiver::start(&python, 0);
    let service = Service::start(&receiver.endpoint());
    let caller = format!("00-{TRACE}-{CALLER}-01");
    // The first stack of a process comes late: the program is read for it.
    let with_stack = |stall: &Value| !stall["attributes"]["code.stacktrace"].is_null();
    let stall = service.stall(&receiver, Some(&caller), with_stack);
    let request = request_of(&stall, &receiver);
    assert_eq!((&request["trace"], &request["parent"]), (&json!(TRACE), &json!(CALLER)));
    assert_eq!(stall["trace"], TRACE);
    assert_eq!(stall["span"], "stall GET /blocking (sleep)");
    assert_eq!(stall["service"], "tower-stall-otel-example");
    assert_eq!(stall["scope"], "tower_stall");
    assert_eq!(stall["error"], true);

    let took = duration(&stall);
    assert!(took >= THRESHOLD && took <= BLOCK + SLACK, "{took:?}");

    let attributes = &stall["attributes"];
    for (name, value) in [
        ("tower_stall.runtime", json!("main")),
        ("tower_stall.handler", json!("GET /blocking")),
        ("tower_stall.cause", json!("sleep")),
        ("tower_stall.fix", json!("use tokio::time::sleep(..).await")),
        ("tower_stall.workers", json!(2)),
        ("code.function.name", json!("otel_server::blocking")),
        ("http.request.method", json!("GET")),
        ("http.route", json!("/blocking")),
        ("error.type", json!("sleep")),
    ] {
        assert_eq!(attributes[name], value, "{name} of {stall}");
    }
    let detail = attributes["tower_stall.detail"].as_str().expect("a detail");
    assert!(detail.starts_with("clock_nanosleep, 300 ms"), "{detail}");
    assert!(attributes["tower_stall.worker"].as_u64() < Some(2), "{stall}");
    let file = attributes["code.file.path"].as_str().expect("a file");
    assert!(file.ends_with("src/main.rs"), "{file}");
    let source = include_str!("../../src/main.rs");
    let sleeps = source.lines().position(|line| line.contains("// blocks the worker"));
    assert_eq!(attributes["code.line.number"].as_u64(), sleeps.map(|line| line as u64 + 1));
    let stack = attributes["code.stacktrace"].as_str().expect("a stack");
    assert!(stack.contains("otel_server::blocking"), "{stack}");
    assert!(attributes["thread.id"].as_u64() > Some(0), "{stall}");

    assert!(attributes["thread.name"].as_str().is_some_and(|name| !name.is_empty()), "{stall}");

    let label = |name: &str| attributes[format!("tower_stall.{name}")].clone();
    let labels = ["runtime", "handler", "cause"].map(|name| (name, label(name)));
    let labels: Value = labels.into_iter().collect();
    let is = |got: &Value| got["metric"] == "tokio.stalls" && got["labels"] == labels;
    let count = wait_for(|| receiver.got().into_iter().find(is));
    assert_eq!(count["kind"], "sum");
    let stalls = wait_for(|| {
        let stalls = receiver.spans("stall GET /blocking");
        (receiver.stalls("GET /blocking") == stalls.len() as u64).then_some(stalls)
    });
    stalls.iter().for_each(|stall| lies_within_its_request(stall, &receiver));

    let lag = receiver.point("tokio.event_loop.lag");
    assert_eq!((&lag["kind"], &lag["unit"]), (&json!("histogram"), &json!("s")));
    assert_eq!(lag["bounds"], json!(tower_stall::LAG_BUCKETS));
    assert_eq!(receiver.point("tokio.workers")["value"], 2.0);
    each_metric_is_there_once(&receiver);
}

/// The span above that of a stall.
fn request_of(stall: &Value, receiver: &Receiver) -> Value {
    let is = |request: &Value| request["id"] == stall["parent"];
    wait_for(|| receiver.spans("GET /blocking").into_iter().find(is))
}

/// By clocks that are each read on their own.
fn lies_within_its_request(stall: &Value, receiver: &Receiver) {
    let request = &request_of(stall, receiver);
    let nanos = |span: &Value, edge: &str| span[edge].as_i64().expect("a time");
    for (edge, earlier, later) in [("start", request, stall), ("end", stall, request)] {
        let apart = nanos(later, edge) - nanos(earlier, edge);
        assert!(apart >= -10_000_000, "{edge}: {apart} ns, {stall}, {request}");
    }
}

/// Under one name, kind, unit and description, however many series it has.
fn each_metric_is_there_once(receiver: &Receiver) {
    receiver.point("tokio.stall.duration"); // the last that a stall gives rise to
    for (metric, info) in METRICS.iter().zip(tower_stall::METRICS) {
        let mut seen: Vec<String> = Vec::new();
        for point in receiver.got().iter().filter(|got| got["metric"] == metric.name) {
            assert_eq!(point["help"], info.help, "{point}");
            assert_eq!(point["unit"], metric.unit, "{point}");
            seen.push(point["kind"].to_string());
        }
        seen.dedup();
        assert!(seen.len() <= 1, "{}: {seen:?}", metric.name);
    }
}

#[test]
fn a_request_without_a_trace_has_one_of_its_own_and_its_stall_too() {
    let Some(python) = python() else { return };
    let receiver = Receiver::start(&python, 0);
    let service = Service::start(&receiver.endpoint());
    let stall = service.stall(&receiver, None, |_| true);
    let request = request_of(&stall, &receiver);
    assert_eq!(request["parent"], "");
    assert_eq!(stall["trace"], request["trace"]);
}

#[test]
fn a_stall_in_a_trace_that_was_not_sampled_is_sent_all_the_same() {
    let Some(python) = python() else { return };
    let receiver = Receiver::start(&python, 0);
    let service = Service::start(&receiver.endpoint());
    let stall = service.stall(&receiver, Some(&format!("00-{TRACE}-{CALLER}-00")), |_| true);
    assert_eq!(stall["trace"], TRACE);
    let (status, _, errors, _) = service.end();
    assert!(status.success(), "{errors}");
    assert!(receiver.spans("GET ").is_empty(), "the request was not to be sampled");
}

#[test]
fn what_still_blocks_at_the_end_is_sent_as_far_as_it_has_come() {
    let Some(python) = python() else { return };
    let receiver = Receiver::start(&python, 0);
    let service = Service::start(&receiver.endpoint());
    let url = service.url.clone();
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    // Nobody answers: the client's error is its own.
    std::thread::spawn(move || {
        std::panic::catch_unwind(|| get(&url, "/blocking?ms=3600000", Some(&traceparent)))
    });
    wait_for(|| (!service.logged("GET /blocking has blocked").is_empty()).then_some(()));
    let (status, _, errors, _) = service.end();
    assert!(status.success(), "{errors}");
    assert!(errors.contains("leaving them behind"), "{errors}");
    let stall = wait_for(|| receiver.spans("stall GET /blocking").into_iter().next());
    assert_eq!(stall["trace"], TRACE);
    // It blocked for as long as the shutdown waited for it, and longer.
    assert!(duration(&stall) >= Duration::from_secs(2), "{stall}");
    wait_for(|| (receiver.stalls("GET /blocking") == 1).then_some(()));
}
