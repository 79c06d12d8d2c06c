//! A service with a detector, its clients, and the end of what blocks.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
pub(crate) use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use serde_json::{Value, json};
use tokio::runtime::{Builder, Handle};
use tower_stall::{Cause, Holder, Stall, StallDetector};

use crate::case::{Case, Flavor};

#[path = "../../../support/waiting.rs"]
#[allow(dead_code, reason = "a part is used here")]
mod waiting;

/// For what must happen.
const LIMIT: Duration = Duration::from_secs(60);
/// For a record, after the begin.
const FOR_RECORDS: Duration = Duration::from_secs(8);
/// The detail may be found after the stack.
const FOR_DETAIL: Duration = Duration::from_secs(3);
/// For who holds a lock, which is looked for after the stack and again when the stall has doubled.
const FOR_HOLDER: Duration = Duration::from_secs(4);
/// For what is not expected, after the end.
const AFTERWARDS: Duration = Duration::from_millis(300);
const STEP: Duration = Duration::from_millis(5);

/// How long something takes that nobody can end: clearly more than the threshold.
pub(crate) const LONG: Duration = Duration::from_millis(500);

/// Whether what computes may end.
pub(crate) static OVER: AtomicBool = AtomicBool::new(false);
static LATE_MS: AtomicU64 = AtomicU64::new(0);
static NOTED: Mutex<Vec<(&str, u32, u32)>> = Mutex::new(Vec::new());

/// Notes where a stall is; see `here!`.
pub(crate) fn note(file: &'static str, first: u32, last: u32) {
    let mut noted = NOTED.lock().expect("not poisoned");
    if !noted.contains(&(file, first, last)) {
        noted.push((file, first, last));
    }
}

/// The same, for what takes longer than a call.
pub(crate) fn is_over() -> bool {
    OVER.load(Relaxed)
}

/// The same as a future.
pub(crate) async fn over() {
    while !is_over() {
        tokio::time::sleep(STEP).await;
    }
}

/// The same for threads. Who looks for the holder of a lock wants it to stand still for some milliseconds.
pub(crate) fn wait_until_over() {
    while !is_over() {
        std::thread::sleep(10 * STEP);
    }
}

/// The scene of a case.
pub(crate) struct Stage {
    wanted: usize,
    /// How many records are to say who holds a lock.
    held: usize,
    runtime: Handle,
    detector: StallDetector,
    /// One for each that ends by itself or after the release.
    guests: RefCell<Vec<Receiver<()>>>,
    releases: RefCell<Vec<Box<dyn FnOnce()>>>,
}

impl Stage {
    pub(crate) fn set(case: &Case) -> Self {
        let runtime = match case.runtime {
            Flavor::Workers(workers) => {
                let mut builder = Builder::new_multi_thread();
                let runtime = builder.worker_threads(workers).enable_all().build();
                let runtime = runtime.expect("a runtime");
                let handle = runtime.handle().clone();
                std::mem::forget(runtime);
                handle
            }
            Flavor::CurrentThread => {
                let runtime = Builder::new_current_thread().enable_all().build();
                let runtime = runtime.expect("a runtime");
                let handle = runtime.handle().clone();
                std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
                handle
            }
        };
        std::thread::spawn(watch_lateness);
        let detector = {
            let _inside = runtime.enter();
            StallDetector::builder().start().expect("a detector")
        };
        Self {
            wanted: case.told.len(),
            held: case.told.iter().filter(|told| told.held_by.is_some()).count(),
            runtime,
            detector,
            guests: RefCell::default(),
            releases: RefCell::default(),
        }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn detector(&self) -> &StallDetector {
        &self.detector
    }

    /// Is called when all records are there.
    pub(crate) fn at_release(&self, release: impl FnOnce() + 'static) {
        self.releases.borrow_mut().push(Box::new(release));
    }

    /// A port at which the router answers under the layer.
    pub(crate) fn serve(&self, router: Router) -> SocketAddr {
        let router = router.layer(self.detector.layer());
        self.serve_as_it_is(router)
    }

    /// The same without adding the layer.
    pub(crate) fn serve_as_it_is(&self, router: Router) -> SocketAddr {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a flag");
        let address = listener.local_addr().expect("bound");
        let _inside = self.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener).expect("it is");
        self.runtime.spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// Serves it, and asks for this path.
    pub(crate) fn get(&self, path: &str, router: Router) {
        let address = self.serve(router);
        self.ask(address, path);
    }

    /// Serves a handler that takes one request, and sends it.
    pub(crate) fn get_once(&self, path: &str, run: impl FnOnce() + Send + 'static) {
        let run = Arc::new(Mutex::new(Some(run)));
        let handler = move || {
            let run = run.lock().expect("not poisoned").take();
            async move { run.expect("one request")() }
        };
        self.get(path, Router::new().route(path, axum::routing::get(handler)));
    }

    /// A client asks for this path. What it is answered does not matter.
    pub(crate) fn ask(&self, address: SocketAddr, path: &str) {
        self.send(address, format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n"), Vec::new());
    }

    /// A client posts this body as JSON.
    pub(crate) fn post(&self, address: SocketAddr, path: &str, body: Vec<u8>) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
            content-length: {}\r\n",
            body.len()
        );
        self.send(address, head, body);
    }

    fn send(&self, address: SocketAddr, head: String, body: Vec<u8>) {
        self.guest(move || {
            let mut server = TcpStream::connect(address).expect("it listens");
            let end = b"connection: close\r\n\r\n";
            let request = [head.as_bytes(), end, &body].concat();
            server.write_all(&request).expect("it reads");
            let mut answer = Vec::new();
            server.read_to_end(&mut answer).expect("an answer or none");
        });
    }

    /// A thread outside of the service that is waited for.
    pub(crate) fn guest(&self, run: impl FnOnce() + Send + 'static) {
        let (done, is_done) = channel::<()>();
        std::thread::spawn(move || {
            run();
            drop(done);
        });
        self.guests.borrow_mut().push(is_done);
    }

    /// A task of a service that has been up for a while. It is waited for.
    pub(crate) fn spawn_later<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let address = self.serve(Router::new().route("/up", axum::routing::get(|| async { "up" })));
        for _ in 0..20 {
            let asked: Vec<_> = (0..4).map(|_| std::thread::spawn(move || up(address))).collect();
            asked.into_iter().for_each(|asked| asked.join().expect("no panic"));
        }
        self.spawn(task);
    }

    /// A task that is waited for.
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = self.runtime.spawn(task);
        let (done, is_done) = channel::<()>();
        // Nothing is sent: it is dropped at the end.
        self.runtime.spawn(async move {
            let result = task.await;
            drop((done, result));
        });
        self.guests.borrow_mut().push(is_done);
    }

    /// Waits for the records, ends what blocks, and says what the detector has found.
    pub(crate) fn end(self) -> Value {
        let start = Instant::now();
        let mut seen = None;
        while self.wanted > 0 && start.elapsed() < FOR_RECORDS {
            let stalls = self.program_stalls();
            if stalls.len() >= self.wanted && stalls.iter().all(|stall| !stall.is_stack_pending()) {
                let since = *seen.get_or_insert_with(Instant::now);
                let told = |stall: &Stall| stall.detail.is_some() || stall.cause == Cause::Cpu;
                let is_held = |stall: &&Stall| {
                    stall.held_by.as_ref().is_some_and(|held| held.holder != Holder::Unknown)
                };
                let is_held = stalls.iter().filter(is_held).count() >= self.held;
                let is_told = stalls.iter().all(told) || since.elapsed() > FOR_DETAIL;
                if is_told && (is_held || since.elapsed() > FOR_HOLDER) {
                    break;
                }
            }
            std::thread::sleep(STEP);
        }
        OVER.store(true, Relaxed);
        self.releases.take().into_iter().for_each(|release| release());
        let limit = waiting::for_this_machine(LIMIT);
        for guest in self.guests.take() {
            let end = guest.recv_timeout(limit.saturating_sub(start.elapsed()));
            assert_ne!(end, Err(std::sync::mpsc::RecvTimeoutError::Timeout), "it ends");
        }
        std::thread::sleep(AFTERWARDS);
        let end = Instant::now();
        while !self.detector.stalls().iter().all(Stall::is_complete) && end.elapsed() < FOR_DETAIL {
            std::thread::sleep(STEP);
        }
        let records: Vec<_> = self.detector.stalls().iter().map(record).collect();
        let place = |&(file, first, last): &(&str, u32, u32)| json!([file, first, last]);
        let places: Vec<_> = NOTED.lock().expect("not poisoned").iter().map(place).collect();
        json!({ "records": records, "places": places, "late_ms": LATE_MS.load(Relaxed) })
    }

    fn program_stalls(&self) -> Vec<Stall> {
        let mut stalls = self.detector.stalls();
        stalls.retain(|stall| !stall.cause.is_environment());
        stalls
    }
}

/// How late a thread was at most that only sleeps: how long a machine had no CPU for us.
fn watch_lateness() {
    loop {
        let start = Instant::now();
        std::thread::sleep(STEP);
        let late = start.elapsed().saturating_sub(STEP);
        LATE_MS.fetch_max(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// Asks whether the service is up.
fn up(address: SocketAddr) {
    let mut server = TcpStream::connect(address).expect("it listens");
    let request = b"GET /up HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    server.write_all(request).expect("it reads");
    server.read_to_end(&mut Vec::new()).expect("an answer");
}

fn record(stall: &Stall) -> Value {
    let mut record = serde_json::to_value(stall).expect("plain data");
    record["environment"] = stall.cause.is_environment().into();
    record["fix_of_cause"] = stall.cause.fix().into();
    record
}
