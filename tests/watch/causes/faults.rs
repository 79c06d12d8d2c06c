//! Faults of the program: each blocks a worker until the detector shows it.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Duration;

use tower_stall::{Cause, Stall};

use crate::support::*;

/// Longer than any of it takes.
const LONG: Duration = Duration::from_secs(60);

/// Runs `fault` on a worker until it is recorded, then lets go of it with `release`.
#[track_caller]
fn check(
    cause: Cause,
    detail: Option<&str>,
    fault: impl FnOnce() + Send + 'static,
    release: impl FnOnce(),
) -> Stall {
    let rig = Rig::new(2, |builder| builder);
    let task = rig.runtime.spawn(rig.stall.watched("fault", async move { fault() }));
    let stall = wait_for(LIMIT, || {
        let mut stalls = rig.stall.stalls().into_iter();
        stalls.find(|stall| stall.handler == "fault" && stall.detail.is_some() >= detail.is_some())
    });
    release();
    assert!(stall.in_progress, "{stall:#?}");
    rig.runtime.block_on(task).expect("no panic");
    assert_eq!(stall.cause, cause, "{stall:#?}");
    let found = stall.detail.as_deref().unwrap_or_default();
    assert!(found.contains(detail.unwrap_or_default()), "{stall:#?}");
    let labels = [("handler", "fault"), ("cause", cause.as_str())];
    // The record may be there a moment before its metrics.
    let counted = wait_for(LIMIT, || rig.metric("tokio_stalls_total", &labels));
    assert_eq!(counted, 1.0);
    stall
}

/// Runs `nap`, one call that sleeps, again and again until the stall is recorded.
#[track_caller]
fn check_naps(detail: &str, nap: impl Fn() + Send + 'static) -> Stall {
    let over = Arc::new(AtomicBool::new(false));
    let is_over = Arc::clone(&over);
    let naps = move || {
        while !is_over.load(Ordering::Relaxed) {
            nap();
        }
    };
    check(Cause::Sleep, Some(detail), naps, || over.store(true, Ordering::Relaxed))
}

#[test]
fn sleeping() {
    let stall = check_naps("clock_nanosleep", || std::thread::sleep(Duration::from_secs(1)));
    assert_eq!(stall.fix, "use tokio::time::sleep(..).await");
}

#[test]
fn sleeping_in_c() {
    check_naps("nanosleep", || {
        // SAFETY: it has no conditions.
        unsafe { libc::usleep(900_000) };
    });
}

#[test]
fn a_poll_of_nothing_is_a_sleep() {
    check_naps("poll", || {
        // SAFETY: no descriptor is named, so no memory is touched.
        unsafe { libc::poll(std::ptr::null_mut(), 0, 1000) };
    });
}

#[test]
fn waiting_for_a_mutex() {
    let mutex = Arc::new(Mutex::new(()));
    let (theirs, held) = (Arc::clone(&mutex), mutex.lock().expect("new"));
    let lock = move || drop(theirs.lock().expect("not poisoned"));
    check(Cause::Lock, Some("futex"), lock, || drop(held));
}

#[test]
fn waiting_for_a_read_write_lock() {
    let lock = Arc::new(RwLock::new(()));
    let (theirs, held) = (Arc::clone(&lock), lock.write().expect("new"));
    let read = move || drop(theirs.read().expect("not poisoned"));
    check(Cause::Lock, Some("futex"), read, || drop(held));
}

#[test]
fn waiting_for_a_condition() {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let theirs = Arc::clone(&pair);
    let wait = move || {
        let guard = theirs.0.lock().expect("not poisoned");
        drop(theirs.1.wait_while(guard, |ready| !*ready).expect("not poisoned"));
    };
    check(Cause::Lock, Some("futex"), wait, || {
        *pair.0.lock().expect("not poisoned") = true;
        pair.1.notify_all();
    });
}

#[test]
fn waiting_for_a_message() {
    let (sender, receiver) = channel::<()>();
    let receive = move || assert!(receiver.recv().is_err());
    check(Cause::Lock, Some("futex"), receive, || drop(sender));
}

#[test]
fn reading_a_named_pipe() {
    let path = std::env::temp_dir().join(format!("tower-stall-\n-{}.fifo", std::process::id()));
    let name = CString::new(path.to_str().expect("UTF-8")).expect("no zero");
    // SAFETY: the name ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0, "{path:?}");
    let mut pipe = OpenOptions::new().read(true).write(true).open(&path).expect("it is there");
    let mut write = pipe.try_clone().expect("a descriptor");
    let read = move || pipe.read_exact(&mut [0]).expect("a byte");
    // A name that would break a line is escaped.
    let detail = format!("read of {}", path.display()).replace('\n', "\\n");
    check(Cause::FileIo, Some(&detail), read, || write.write_all(&[1]).expect("room"));
    std::fs::remove_file(path).expect("it is ours");
}

#[test]
fn waiting_for_a_lock_of_a_file() {
    let path = std::env::temp_dir().join(format!("tower-stall-{}.lock", std::process::id()));
    let lock = |file: &File, how| {
        // SAFETY: the descriptor is open.
        assert_eq!(unsafe { libc::flock(file.as_raw_fd(), how) }, 0);
    };
    let (ours, theirs) = (File::create(&path).expect("a file"), File::open(&path).expect("it"));
    lock(&ours, libc::LOCK_EX);
    let wait = move || lock(&theirs, libc::LOCK_EX);
    check(Cause::Lock, Some("flock"), wait, || drop(ours));
    std::fs::remove_file(path).expect("it is ours");
}

fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    (client, listener.accept().expect("it connected").0)
}

#[test]
fn reading_from_the_network() {
    for timeout in [None, Some(LONG)] {
        let (mut client, mut server) = tcp();
        client.set_read_timeout(timeout).expect("a socket");
        let detail = format!("recvfrom from {}", client.peer_addr().expect("connected"));
        let read = move || client.read_exact(&mut [0]).expect("a byte");
        let write = || server.write_all(&[1]).expect("a connection");
        check(Cause::NetworkIo, Some(&detail), read, write);
    }
}

#[test]
fn waiting_for_a_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let accept = move || drop(listener.accept().expect("one"));
    check(Cause::NetworkIo, Some("accept"), accept, || {
        drop(TcpStream::connect(address).expect("it listens"));
    });
}

#[test]
fn receiving_a_datagram() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("bound");
    let receive = move || assert_eq!(socket.recv(&mut [0]).expect("one"), 1);
    check(Cause::NetworkIo, Some("recvfrom"), receive, || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.send_to(&[1], address).expect("sent");
    });
}

#[test]
fn reading_from_a_unix_socket() {
    let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
    let read = move || theirs.read_exact(&mut [0]).expect("a byte");
    let write = || ours.write_all(&[1]).expect("a connection");
    check(Cause::NetworkIo, Some("from a Unix socket"), read, write);
}

#[test]
fn waiting_for_a_child() {
    // It ends with its input.
    let (input, ours) = std::io::pipe().expect("a pipe");
    let wait = || assert!(Command::new("cat").stdin(input).status().expect("a child").success());
    check(Cause::ProcessWait, Some("wait"), wait, || drop(ours));
}

#[test]
fn computing() {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let compute = move || {
        while !stopped.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    };
    check(Cause::Cpu, None, compute, || stop.store(true, Ordering::Relaxed));
}
