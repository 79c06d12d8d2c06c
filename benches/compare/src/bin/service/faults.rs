//! The handlers. A comment marks the lines that block, and where a task is spawned: the judges compare the
//! lines that are reported with them.

use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::routing::{MethodRouter, get};

/// How long each blocks: twice as long as console-subscriber waits between two updates.
const LENGTH: Duration = Duration::from_secs(2);

pub(crate) fn handlers() -> [(&'static str, MethodRouter); 10] {
    [
        ("/sleep", get(sleep)),
        ("/lock", get(lock)),
        ("/cpu", get(cpu)),
        ("/file", get(file)),
        ("/network", get(network)),
        ("/process", get(process)),
        ("/nested", get(nested)),
        ("/task", get(task)),
        ("/pool", get(pool)),
        ("/place", get(place)),
    ]
}

/// Tells when it begins and ends.
struct Fault;

impl Fault {
    fn begin() -> Self {
        println!("begin {}", now());
        Self
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        println!("end {}", now());
    }
}

/// Nanoseconds since 1970.
fn now() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that is set").as_nanos()
}

async fn sleep() -> &'static str {
    let _fault = Fault::begin();
    thread::sleep(LENGTH); // blocks: sleep
    "slept"
}

async fn lock() -> &'static str {
    static LOCK: Mutex<()> = Mutex::new(());
    let (told, is_held) = mpsc::channel();
    thread::spawn(move || {
        let _held = LOCK.lock();
        told.send(()).expect("it is waited for");
        thread::sleep(LENGTH);
    });
    is_held.recv().expect("it is held");
    let _fault = Fault::begin();
    drop(LOCK.lock()); // blocks: lock
    "locked"
}

async fn cpu() -> &'static str {
    let _fault = Fault::begin();
    let end = Instant::now() + LENGTH;
    let mut hash = 1_u64;
    // blocks from here: cpu
    while Instant::now() < end {
        for number in 0..100_000_u64 {
            hash = black_box(hash.rotate_left(5) ^ number);
        }
    }
    // blocks to here: cpu
    black_box(hash);
    "computed"
}

async fn file() -> &'static str {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    thread::spawn(move || {
        thread::sleep(LENGTH);
        writer.write_all(b"late").expect("it is read");
    });
    let mut file = File::from(OwnedFd::from(reader));
    let _fault = Fault::begin();
    let read = file.read(&mut [0; 4]); // blocks: file
    read.map_or("failed", |_| "read")
}

async fn network() -> &'static str {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        let (mut peer, _) = listener.accept().expect("a connection");
        thread::sleep(LENGTH);
        peer.write_all(b"late").expect("it is read");
    });
    let mut peer = TcpStream::connect(address).expect("it listens");
    let _fault = Fault::begin();
    let read = peer.read(&mut [0; 4]); // blocks: network
    read.map_or("failed", |_| "received")
}

async fn process() -> &'static str {
    let mut child = Command::new("sleep").arg(LENGTH.as_secs().to_string()).spawn().expect("sleep");
    let _fault = Fault::begin();
    let status = child.wait(); // blocks: process
    status.map_or("failed", |_| "waited")
}

async fn nested() -> &'static str {
    let (send, sent) = tokio::sync::oneshot::channel();
    thread::spawn(move || {
        thread::sleep(LENGTH);
        send.send("driven").expect("it is waited for");
    });
    let _fault = Fault::begin();
    pollster::block_on(sent).expect("it is sent") // blocks: nested
}

async fn task() -> &'static str {
    let sleeps = async {
        let _fault = Fault::begin();
        thread::sleep(LENGTH); // blocks: task
    };
    tokio::spawn(sleeps); // spawned: task
    "spawned"
}

async fn pool() -> &'static str {
    let slept = tokio::task::spawn_blocking(|| {
        let _fault = Fault::begin();
        thread::sleep(LENGTH);
    });
    slept.await.map_or("failed", |()| "slept")
}

async fn place() -> &'static str {
    tokio::task::block_in_place(|| {
        let _fault = Fault::begin();
        thread::sleep(LENGTH);
    });
    "slept"
}
