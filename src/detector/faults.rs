//! Panics of the detector's own threads: the service goes on, and they show.
#![cfg(test)]

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

use super::StallDetector;
use crate::clock::{self, nanos};
use crate::stall::Stall;
use crate::vitals::{MOST_PANICS, OwnThread};

const LIMIT: Duration = Duration::from_secs(60);
const THRESHOLD: Duration = Duration::from_millis(50);

struct Service {
    runtime: Runtime,
    detector: StallDetector,
}

impl Service {
    fn new() -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let inside = runtime.enter();
        let detector = StallDetector::builder().threshold(THRESHOLD);
        let detector = detector.admin((Ipv4Addr::LOCALHOST, 0)).start().expect("a detector");
        drop(inside);
        Self { runtime, detector }
    }

    /// The next piece of work of the thread panics; waits for that.
    fn fail(&self, thread: OwnThread) {
        let vitals = &self.detector.registry().vitals;
        let panics = vitals.panics(thread);
        vitals.fail_next(thread);
        let late = clock::now() + nanos(LIMIT);
        while vitals.panics(thread) == panics {
            assert!(clock::now() < late, "no panic");
            // There has to be something to do. Of a stall of the environment's no stack is wanted.
            if thread == OwnThread::Watchdog {
                std::thread::sleep(THRESHOLD / 10);
            } else {
                self.block("work");
            }
        }
    }

    /// A marked poll blocks in the system, for long enough that a busy machine does not matter.
    fn block(&self, handler: &'static str) {
        let blocked = self.detector.watched(handler, async {
            std::thread::sleep(6 * THRESHOLD);
        });
        self.runtime.block_on(self.runtime.spawn(blocked)).expect("it ends");
    }

    fn found(&self, handler: &str) -> Option<Stall> {
        let stalls = self.detector.stalls();
        stalls.into_iter().find(|stall| stall.handler == handler && stall.is_complete)
    }

    /// The stall of a handler that blocks until one is found: the environment may be to blame for others.
    fn find(&self, handler: &'static str) -> Stall {
        let late = clock::now() + nanos(LIMIT);
        loop {
            self.block(handler);
            let enough = clock::now() + nanos(20 * THRESHOLD);
            while clock::now() < enough {
                if let Some(stall) = self.found(handler) {
                    return stall;
                }
                std::thread::sleep(THRESHOLD / 10);
            }
            assert!(clock::now() < late, "{handler} is not found");
        }
    }

    fn get(&self, path: &str) -> String {
        let address = self.detector.admin_addr().expect("a port");
        let mut stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer
    }

    fn faults(&self) -> Vec<String> {
        let answer = self.get("/livez?format=json");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
        let body: Value = serde_json::from_str(body).expect("JSON");
        let faults = body["faults"].as_array().expect("a list");
        faults.iter().map(|fault| fault.as_str().expect("a sentence").to_owned()).collect()
    }

    #[track_caller]
    fn shows(&self, thread: OwnThread, sentence: &str, up: u32, panics: u64) {
        let faults = self.faults();
        assert!(faults.len() == 1 && faults[0].starts_with(sentence), "{faults:?}");
        let name = thread.as_str();
        let wanted = [
            ("/stalls", faults[0].clone()),
            ("/stalls.json", faults[0].clone()),
            ("/metrics", format!("tower_stall_thread_up{{thread=\"{name}\"}} {up}")),
            ("/metrics", format!("tower_stall_panics_total {panics}")),
        ];
        for (path, wanted) in wanted {
            let wait = format!("{path} with {wanted}");
            wait_for(&wait, || self.get(path).contains(&wanted));
        }
    }

    fn end(self) {
        assert_eq!(self.detector.shutdown(LIMIT), Ok(()));
    }
}

#[track_caller]
fn wait_for(what: &str, happened: impl Fn() -> bool) {
    let late = clock::now() + nanos(LIMIT);
    while !happened() {
        assert!(clock::now() < late, "no {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_thread_goes_on_after_a_panic_and_it_shows() {
    for thread in [OwnThread::Watchdog, OwnThread::Reporter, OwnThread::Capture, OwnThread::Symbols]
    {
        let service = Service::new();
        assert_eq!(service.faults(), [""; 0]);
        service.fail(thread);
        let name = thread.as_str();
        service.shows(thread, &format!("{name} panicked 1 time and goes on"), 1, 1);
        let stall = service.find("GET /after");
        assert!(stall.stack.is_some(), "{thread:?}: {stall:?}");
        service.end();
    }
}

#[test]
fn a_stall_in_progress_ends_with_the_scanner_and_is_found_again() {
    let service = Service::new();
    let (held, release) = std::sync::mpsc::channel::<()>();
    let blocked = service.detector.watched("GET /long", async move {
        assert!(release.recv().is_err());
    });
    let blocked = service.runtime.spawn(blocked);
    let open = || service.detector.stalls().iter().filter(|stall| stall.in_progress).count();
    wait_for("stall", || open() == 1);
    service.fail(OwnThread::Watchdog);
    wait_for("second record", || {
        let stalls = service.detector.stalls();
        let of_handler = || stalls.iter().filter(|stall| stall.handler == "GET /long");
        of_handler().count() == 2 && of_handler().filter(|stall| stall.in_progress).count() == 1
    });
    drop(held);
    service.runtime.block_on(blocked).expect("it ends");
    wait_for("end", || open() == 0);
    service.end();
}

#[test]
fn a_lost_watchdog_ends_the_watch_and_nothing_else() {
    let service = Service::new();
    service.find("GET /before");
    for _ in 0..MOST_PANICS {
        service.fail(OwnThread::Watchdog);
    }
    let registry = service.detector.registry();
    wait_for("end of the watch", || !registry.is_watching());
    service.block("GET /unseen");
    let health = service.detector.health();
    assert!(health.is_live() && health.is_ready(), "{health:?}");
    let sentence = "stall-watchdog has ended, 5 panics before that: no stall is found";
    service.shows(OwnThread::Watchdog, sentence, 0, MOST_PANICS);
    let page = service.get("/stalls");
    assert!(page.contains("Not known: stall-watchdog has ended"), "{page}");
    assert!(service.found("GET /before").is_some() && service.found("GET /unseen").is_none());
    service.end();
}

#[test]
fn a_lost_thread_of_stacks_leaves_records_that_say_so() {
    for (thread, why) in [
        (OwnThread::Capture, "the thread stall-capture is lost"),
        (OwnThread::Symbols, "the thread stall-symbols is lost"),
    ] {
        let service = Service::new();
        for _ in 0..MOST_PANICS {
            service.fail(thread);
        }
        let stall = service.find("GET /bare");
        assert_eq!(stall.stack_missing.as_deref(), Some(why), "{stall:?}");
        service.end();
    }
}

#[test]
fn a_lost_reporter_leaves_metrics_and_page() {
    let service = Service::new();
    for _ in 0..MOST_PANICS {
        service.fail(OwnThread::Reporter);
    }
    let sentence = "stall-reporter has ended, 5 panics before that: no line is logged";
    service.shows(OwnThread::Reporter, sentence, 0, MOST_PANICS);
    service.block("GET /quiet");
    wait_for("counter", || service.get("/metrics").contains("handler=\"GET /quiet\""));
    service.end();
}

#[test]
fn the_admin_server_goes_on_after_a_panic_of_its_upkeep() {
    let service = Service::new();
    let vitals = &service.detector.registry().vitals;
    vitals.fail_next(OwnThread::Admin);
    wait_for("panic", || vitals.panics(OwnThread::Admin) == 1);
    service.shows(OwnThread::Admin, "stall-admin panicked 1 time and goes on", 1, 1);
    service.end();
}
