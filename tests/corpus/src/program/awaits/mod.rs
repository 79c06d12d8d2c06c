//! Futures of all shapes, each of which holds its worker until its record is there: for the chains of awaits.
//!
//! They run one after the other in one process, which prints a line of JSON for each.

mod shapes;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;
use tower_stall::{Stall, StallDetector};

/// Whose stall that of a plain task is.
const UNATTRIBUTED: &str = "unattributed";
/// For what must happen.
const LIMIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(5);

/// How many shapes may have gone on.
static RELEASED: Mutex<u32> = Mutex::new(0);
static RELEASES: Condvar = Condvar::new();

/// What blocks: until the record of the shape is there.
#[inline(never)]
fn hold() {
    let released = RELEASED.lock().expect("not poisoned");
    let before = *released;
    let released = RELEASES.wait_while(released, |released| *released == before);
    assert!(*released.expect("not poisoned") > before);
}

fn release() {
    *RELEASED.lock().expect("not poisoned") += 1;
    RELEASES.notify_all();
}

/// Runs the shapes with these names.
pub(crate) fn run(names: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let detector = {
        let _inside = runtime.enter();
        StallDetector::builder().start().expect("a detector")
    };
    let router = shapes::router(&detector);
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.set_nonblocking(true).expect("a flag");
    let address = listener.local_addr().expect("bound");
    runtime.spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("it is");
        axum::serve(listener, router).await
    });
    for name in names {
        if name == "root" {
            root(&detector);
            continue;
        }
        let client = std::thread::spawn({
            let name = name.clone();
            move || ask(address, &name)
        });
        let handler = match name.as_str() {
            "join-set" | "spawned" => UNATTRIBUTED.to_owned(),
            name => format!("GET /{name}"),
        };
        print(name, &wait_for(&detector, &handler));
        client.join().expect("an answer");
        wait_for_end(&detector);
    }
    std::process::exit(0);
}

/// A future that a current-thread runtime is driven with.
fn root(detector: &StallDetector) {
    let thread = std::thread::spawn({
        let detector = detector.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.expect("a runtime");
            detector.watch("root", runtime.handle());
            runtime.block_on(shapes::root());
        }
    });
    print("root", &wait_for(detector, UNATTRIBUTED));
    thread.join().expect("no panic");
}

fn ask(address: SocketAddr, name: &str) {
    let mut server = TcpStream::connect(address).expect("it listens");
    let request = format!("GET /{name} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    server.write_all(request.as_bytes()).expect("it reads");
    server.read_to_end(&mut Vec::new()).expect("an answer");
}

/// The stall of that handler while it lasts, with its stack. Then it may end.
fn wait_for(detector: &StallDetector, handler: &str) -> Option<Stall> {
    let start = Instant::now();
    let stall = loop {
        let mut stalls = detector.stalls().into_iter();
        let found = stalls.find(|stall| stall.handler == handler && stall.in_progress);
        if found.as_ref().is_some_and(|stall| stall.stack.is_some()) || start.elapsed() > LIMIT {
            break found;
        }
        std::thread::sleep(STEP);
    };
    release();
    stall
}

fn wait_for_end(detector: &StallDetector) {
    let start = Instant::now();
    while detector.stalls().iter().any(|stall| stall.in_progress) {
        assert!(start.elapsed() < LIMIT, "it has been released");
        std::thread::sleep(STEP);
    }
}

fn print(name: &str, stall: &Option<Stall>) {
    println!("{}", json!({ "shape": name, "stall": stall }));
}
