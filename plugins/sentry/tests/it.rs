//! Real stalls, through Sentry's client and its HTTP transport, to a receiver that reads Sentry's envelopes.

#[path = "../../../tests/support/waiting.rs"]
mod waiting;

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use axum::routing::get;
use sentry::protocol::Event;
use sentry::{Client, ClientOptions, Hub, Scope, apply_defaults};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tower::ServiceExt;
use tower_stall::{Stall, StallDetector};
use tower_stall_sentry::{EventCounts, Outcome, StallEvents};
use waiting::{LIMIT, wait_for};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

async fn blocking() {
    thread::sleep(Duration::from_millis(300)); // blocks the worker
}

async fn elsewhere() {
    thread::sleep(Duration::from_millis(300));
}

/// What Sentry's server is to a client: it takes envelopes and keeps the events in them.
struct Receiver {
    dsn: String,
    events: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let events: Arc<Mutex<Vec<Value>>> = Arc::default();
        let kept = Arc::clone(&events);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || receive(connection.expect("a connection"), &kept));
            }
        });
        Self { dsn: format!("http://public@{address}/42"), events }
    }

    fn events(&self) -> Vec<Value> {
        self.events.lock().expect("no panic").clone()
    }
}

/// Answers requests until the client has no more.
fn receive(mut connection: TcpStream, events: &Mutex<Vec<Value>>) {
    let mut reader = BufReader::new(connection.try_clone().expect("a socket"));
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if line == "\r\n" {
                break;
            }
            head.push(line.trim_end().to_owned());
        }
        assert_eq!(head[0], "POST /api/42/envelope/ HTTP/1.1");
        let header = |name: &str| {
            let value = |line: &String| {
                let (found, value) = line.split_once(": ")?;
                found.eq_ignore_ascii_case(name).then(|| value.to_owned())
            };
            head.iter().find_map(value)
        };
        let auth = header("x-sentry-auth").expect("a key");
        assert!(auth.contains("sentry_key=public"), "{auth}");
        let length = header("content-length").expect("a length").parse().expect("a number");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        let found = events_of(&body);
        events.lock().expect("no panic").extend(found);
        let answer =
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";
        connection.write_all(answer.as_bytes()).expect("a client that waits");
    }
}

/// The events of an envelope: a line of headers; for each item a line with its type and length, and its payload.
fn events_of(envelope: &[u8]) -> Vec<Value> {
    let line = |from: &[u8]| from.iter().position(|byte| *byte == b'\n').unwrap_or(from.len());
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).expect("JSON");
    let (header, mut rest) = envelope.split_at(line(envelope));
    let header = json(header);
    let mut found = Vec::new();
    while let Some(items) = rest.strip_prefix(b"\n").filter(|items| !items.is_empty()) {
        let (item, payload) = items.split_at(line(items));
        let item = json(item);
        let length = item["length"].as_u64().expect("a length") as usize;
        let (payload, after) = payload[1..].split_at(length);
        if item["type"] == "event" {
            let event = json(payload);
            let id = |of: &Value| of["event_id"].as_str().expect("an id").replace('-', "");
            assert_eq!(id(&header), id(&event));
            found.push(event);
        }
        rest = after;
    }
    found
}

/// A hub with a client that sends there by its real transport.
fn hub(dsn: &str, options: ClientOptions) -> Arc<Hub> {
    let options = options.dsn(dsn).release("app@1.2.3");
    let client = Client::with_options(apply_defaults(options));
    Arc::new(Hub::new(Some(Arc::new(client)), Arc::new(Scope::default())))
}

/// A detector with the hook, and a service of two routes that block.
struct Service {
    stall: StallDetector,
    app: Router,
    counts: EventCounts,
    /// Stalls that ended, by a hook of its own after the first.
    ended: Arc<AtomicU64>,
}

impl Service {
    fn start(events: StallEvents) -> Self {
        let (counts, ended) = (events.counts(), Arc::new(AtomicU64::new(0)));
        let count = Arc::clone(&ended);
        let stall = StallDetector::builder()
            .on_stall(events)
            .on_stall(move |stall: &Stall| {
                let counts = !stall.in_progress && !stall.cause.is_environment();
                count.fetch_add(u64::from(counts), Relaxed);
            })
            .start()
            .expect("settings");
        let app = Router::new()
            .route("/blocking", get(blocking))
            .route("/again", get(blocking))
            .route("/elsewhere", get(elsewhere))
            .layer(stall.layer());
        Self { stall, app, counts, ended }
    }

    /// On a worker, as servers do.
    fn spawn(&self, path: &str) -> JoinHandle<Result<Response, Infallible>> {
        let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
        let request = Request::get(path).header("traceparent", traceparent);
        let request = request.body(Body::empty()).expect("a request");
        tokio::spawn(self.app.clone().oneshot(request))
    }

    async fn get(&self, path: &str) {
        let answer = self.spawn(path).await.expect("no panic").expect("an answer");
        assert!(answer.status().is_success());
    }

    /// Sends requests until there is something: on a machine that is busy enough the watchdog misses a stall, and the
    /// first stack of a process comes late.
    async fn get_until<T>(&self, path: &str, look: impl Fn() -> Option<T>) -> T {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            self.get(path).await;
            let due = Instant::now() + Duration::from_secs(1);
            while Instant::now() < due {
                if let Some(found) = look() {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        panic!("did not happen within {LIMIT:?}: {:?}", self.counts);
    }
}

/// With an event for each stall.
fn each() -> StallEvents {
    StallEvents::new().pause(Duration::ZERO).per_minute(u32::MAX)
}

fn has_stack(event: &&Value) -> bool {
    !event["exception"]["values"][0]["stacktrace"].is_null()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_has_handler_stack_fingerprint_and_trace() {
    let receiver = Receiver::start();
    let service = Service::start(each().hub(hub(&receiver.dsn, ClientOptions::default())));
    let of = |path: &'static str| {
        let is =
            move |event: &&Value| event["transaction"] == format!("GET {path}") && has_stack(event);
        let receiver = &receiver;
        move || receiver.events().iter().find(is).cloned()
    };
    let event = service.get_until("/blocking", of("/blocking")).await;
    assert_eq!(event["level"], Value::Null, "without one it is an error");
    assert_eq!(event["logger"], "tower_stall");
    assert_eq!(event["platform"], "native");
    assert_eq!(event["release"], "app@1.2.3");
    assert_eq!(event["fingerprint"], json!(["tower-stall", "sleep", "it::blocking"]));
    assert_eq!(event["contexts"]["trace"]["trace_id"], TRACE);

    let exception = &event["exception"]["values"][0];
    assert_eq!(exception["type"], "stall (sleep)");
    let said = exception["value"].as_str().expect("a text");
    assert!(said.starts_with("GET /blocking blocked worker "), "{said}");
    assert!(said.contains("it::blocking: clock_nanosleep, 300 ms"), "{said}");
    assert_eq!(exception["mechanism"]["handled"], true);
    assert!(exception["thread_id"].as_u64() > Some(0), "{exception}");

    // The outermost frame first: what blocks is the last of one's own.
    let frames = exception["stacktrace"]["frames"].as_array().expect("frames");
    let own = frames.iter().rfind(|frame| frame["in_app"] == true).expect("a frame of ours");
    assert!(own["function"].as_str().expect("a name").contains("it::blocking"), "{own}");
    assert_eq!(own["filename"], "it.rs");
    assert!(own["abs_path"].as_str().expect("a path").ends_with("tests/it.rs"), "{own}");
    let source = include_str!("it.rs");
    let line = source.lines().position(|line| line.contains("// blocks the worker"));
    assert_eq!(own["lineno"].as_u64(), line.map(|line| line as u64 + 1));
    assert!(own["instruction_addr"].as_str().is_some_and(|it| it.starts_with("0x")), "{own}");
    let not_own = frames.last().expect("frames");
    assert_eq!(not_own["in_app"], false, "{not_own}");

    for (name, value) in [
        ("stall.cause", "sleep"),
        ("stall.handler", "GET /blocking"),
        ("stall.site", "it::blocking"),
        ("stall.runtime", "main"),
        ("stall.fix", "use tokio::time::sleep(..).await"),
        ("stall.in_progress", "false"),
    ] {
        assert_eq!(event["tags"][name], value, "{name}");
    }
    let range = event["tags"]["stall.duration"].as_str().expect("a range");
    assert!(range.ends_with(" s"), "{range}");
    let context = &event["contexts"]["stall"];
    assert_eq!((&context["workers"], &context["in_progress"]), (&json!(2), &json!(false)));
    assert!(context["duration_ms"].as_u64() >= Some(100), "{context}");
    assert!(context["detail"].as_str().is_some_and(|it| it.starts_with("clock_nanosleep")));

    // The same mistake by another route is the same issue, another place is another one.
    let again = service.get_until("/again", of("/again")).await;
    assert_eq!(again["fingerprint"], event["fingerprint"]);
    let elsewhere = service.get_until("/elsewhere", of("/elsewhere")).await;
    assert_eq!(elsewhere["fingerprint"], json!(["tower-stall", "sleep", "it::elsewhere"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_issue_has_too_much_of_is_counted_and_said_in_the_next_event() {
    let receiver = Receiver::start();
    let pause = Duration::from_secs(5);
    let events = each().pause(pause).hub(hub(&receiver.dsn, ClientOptions::default()));
    let service = Service::start(events);
    let held_back = |event: &Value| event["contexts"]["stall"]["held_back"].as_u64() > Some(0);
    let next = || receiver.events().into_iter().find(held_back);
    let event = service.get_until("/blocking", next).await;
    assert!(service.counts.get(Outcome::Paused) >= 1);
    let before = receiver.events().into_iter().take_while(|it| it != &event);
    let before = before.filter(|it| it["fingerprint"] == event["fingerprint"]).last();
    let at = |event: &Value| event["timestamp"].as_f64().expect("a time");
    // The pause is one between events, and their times are those of the stalls' begin.
    assert!(at(&event) - at(&before.expect("one before")) > 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_has_too_much_of_is_counted() {
    let receiver = Receiver::start();
    let events = each().per_minute(1).hub(hub(&receiver.dsn, ClientOptions::default()));
    let service = Service::start(events);
    let limited = || (service.counts.get(Outcome::Limited) >= 1).then_some(());
    service.get_until("/blocking", limited).await;
    assert!(service.counts.get(Outcome::Sent) >= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_that_does_not_end_is_sent_while_it_lasts_and_not_again() {
    let receiver = Receiver::start();
    let events = each()
        .unfinished_after(Duration::from_millis(500))
        .hub(hub(&receiver.dsn, ClientOptions::default()));
    let service = Service::start(events);
    let release = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&release);
    let stuck = tokio::spawn(service.stall.watched("stuck", async move {
        let start = Instant::now();
        while !released.load(Relaxed) && start.elapsed() < LIMIT {
            thread::sleep(Duration::from_millis(20));
        }
    }));
    let of_it = || {
        let events = receiver.events().into_iter();
        events.filter(|event| event["transaction"] == "stuck").collect::<Vec<_>>()
    };
    let event = wait_for(|| of_it().first().cloned());
    assert!(!stuck.is_finished());
    assert_eq!(event["tags"]["stall.in_progress"], "true");
    let said = event["exception"]["values"][0]["value"].as_str().expect("a text");
    assert!(said.starts_with("stuck has blocked worker "), "{said}");
    assert!(event["contexts"]["stall"]["duration_ms"].as_u64() >= Some(500), "{event}");
    release.store(true, Relaxed);
    stuck.await.expect("no panic");
    wait_for(|| (service.ended.load(Relaxed) >= 1).then_some(()));
    // What was sent before is there, so a second event would be.
    let marker =
        || receiver.events().iter().find(|it| it["transaction"] == "GET /blocking").cloned();
    service.get_until("/blocking", marker).await;
    assert_eq!(of_it().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_waits_for_a_receiver_that_does_not_answer() {
    // Connections wait in its backlog for ever.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let dsn = format!("http://public@{}/42", silent.local_addr().expect("an address"));
    let service = Service::start(each().hub(hub(&dsn, ClientOptions::default())));
    service.get_until("/blocking", || (service.counts.get(Outcome::Sent) >= 1).then_some(())).await;
    // From here on the transport waits for an answer.
    silent.set_nonblocking(true).expect("a socket");
    let _connection = wait_for(|| silent.accept().ok());
    let (sent, ended) = (service.counts.get(Outcome::Sent), service.ended.load(Relaxed));
    let on = || {
        let went_on = service.counts.get(Outcome::Sent) > sent + 2;
        (went_on && service.ended.load(Relaxed) > ended + 2).then_some(())
    };
    service.get_until("/blocking", on).await;
    let begin = Instant::now();
    service.stall.shutdown(LIMIT).expect("an end");
    assert!(begin.elapsed() < LIMIT / 2, "{:?}", begin.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_slow_before_send_holds_nobody_up_and_what_is_too_much_is_counted() {
    let receiver = Receiver::start();
    let release = Arc::new(AtomicBool::new(false));
    let released = Arc::clone(&release);
    let slow = move |event: Event<'static>| {
        wait_for(|| released.load(Relaxed).then_some(()));
        Some(event)
    };
    let options = ClientOptions::default().before_send(slow);
    let service = Service::start(each().hub(hub(&receiver.dsn, options)));
    let start = Instant::now();
    while service.counts.get(Outcome::QueueFull) == 0 {
        for request in [(); 7].map(|()| service.spawn("/blocking")) {
            drop(request.await.expect("no panic"));
        }
        assert!(start.elapsed() < LIMIT, "{:?}", service.counts);
    }
    assert_eq!(service.counts.get(Outcome::Sent), 0);
    assert!(service.ended.load(Relaxed) > 64, "other hooks are called meanwhile");
    release.store(true, Relaxed);
    wait_for(|| (service.counts.get(Outcome::Sent) >= 64).then_some(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_is_the_end_of_one_event() {
    let receiver = Receiver::start();
    let first = AtomicBool::new(true);
    let broken = move |event: Event<'static>| {
        assert!(!first.swap(false, Relaxed), "before_send is broken");
        Some(event)
    };
    let options = ClientOptions::default().before_send(broken);
    let service = Service::start(each().hub(hub(&receiver.dsn, options)));
    let came = || receiver.events().first().cloned();
    service.get_until("/blocking", came).await;
    assert_eq!(service.counts.get(Outcome::Panicked), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_client_events_are_counted_as_refused() {
    let none = Arc::new(Hub::new(None, Arc::new(Scope::default())));
    let service = Service::start(each().hub(none));
    let refused = || (service.counts.get(Outcome::Refused) >= 1).then_some(());
    service.get_until("/blocking", refused).await;
    assert_eq!(service.counts.get(Outcome::Sent), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_detector_waits_for_what_is_not_sent_yet() {
    let receiver = Receiver::start();
    let hub = hub(&receiver.dsn, ClientOptions::default());
    let service = Service::start(each().hub(Arc::clone(&hub)));
    let start = Instant::now();
    while service.ended.load(Relaxed) == 0 {
        service.get("/blocking").await;
        assert!(start.elapsed() < LIMIT, "no stall");
    }
    service.stall.shutdown(LIMIT).expect("an end");
    let sent = service.counts.get(Outcome::Sent);
    assert!(sent >= service.ended.load(Relaxed), "{:?}", service.counts);
    // What the guard of `sentry::init` does.
    assert!(hub.client().expect("a client").close(Some(LIMIT)));
    assert_eq!(receiver.events().len() as u64, sent);
}
