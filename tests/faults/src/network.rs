//! Sockets, and a client that knows nothing of Tokio.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::time::Duration;

use crate::LIMIT;
use crate::scene::{Fault, Scene};

pub(crate) const FAULTS: &[Fault] = &[
    ("tcp-read", || {
        let (mut ours, theirs) = connection();
        let release = move || ours.write_all(&[1]).expect("it reads");
        Ok(Scene::new(move || tcp_read(theirs), release))
    }),
    ("tcp-read-timeout", || {
        let (mut ours, theirs) = connection();
        theirs.set_read_timeout(Some(LIMIT)).expect("not zero");
        let release = move || ours.write_all(&[1]).expect("it reads");
        Ok(Scene::new(move || tcp_read_timeout(theirs), release))
    }),
    ("tcp-connect", || {
        let (listener, address) = deaf();
        Ok(Scene::new(move || tcp_connect(address), || drop(listener)))
    }),
    ("udp-recv", || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("bound");
        let release = move || {
            let ours = UdpSocket::bind("127.0.0.1:0").expect("a port");
            ours.send_to(&[1], address).expect("sent");
        };
        Ok(Scene::new(move || udp_recv(&socket), release))
    }),
    ("unix-socket", || {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let release = move || ours.write_all(&[1]).expect("it reads");
        Ok(Scene::new(move || unix_socket(theirs), release))
    }),
    ("poll", || {
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let release = move || ours.write_all(&[1]).expect("it polls");
        Ok(Scene::new(move || poll(&theirs), release))
    }),
    ("ureq", || {
        let (address, answer) = slow_server();
        Ok(Scene::new(move || http_client(address), answer))
    }),
];

/// Both ends of a connection.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    (ours, listener.accept().expect("it connected").0)
}

#[inline(never)]
fn tcp_read(mut from: TcpStream) {
    let length = here!(from.read(&mut [0]));
    assert_eq!(length.expect("a byte"), 1);
}

#[inline(never)]
fn tcp_read_timeout(mut from: TcpStream) {
    let length = here!(from.read(&mut [0]));
    assert_eq!(length.expect("in time, and not interrupted"), 1);
}

/// A server that takes no more connections until it is dropped, which then refuses them.
fn deaf() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    // SAFETY: the descriptor is a socket that listens; this makes its queue shorter.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    // What is in the queue stays there when it is closed.
    while TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok() {}
    (listener, address)
}

#[inline(never)]
fn tcp_connect(address: SocketAddr) {
    let stream = here!(TcpStream::connect(address));
    assert!(stream.is_err(), "it never took it");
}

#[inline(never)]
fn udp_recv(socket: &UdpSocket) {
    let length = here!(socket.recv(&mut [0]));
    assert_eq!(length.expect("one"), 1);
}

#[inline(never)]
fn unix_socket(mut from: UnixStream) {
    let length = here!(from.read(&mut [0]));
    assert_eq!(length.expect("a byte"), 1);
}

#[inline(never)]
fn poll(stream: &UnixStream) {
    let mut wanted = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the list has one entry, which lives as long as the call.
    let ready = here!(unsafe { libc::poll(&raw mut wanted, 1, -1) });
    assert_eq!(ready, 1, "not interrupted");
}

/// A server that answers its first request when told to.
fn slow_server() -> (SocketAddr, impl FnOnce()) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (release, released) = channel::<()>();
    std::thread::spawn(move || {
        let mut client = listener.accept().expect("a request").0;
        assert!(released.recv().is_err(), "dropped in the end");
        client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nslow").expect("it waits");
        // Not closed before all of the request was read.
        drop(client.read(&mut [0; 4096]));
    });
    (address, || drop(release))
}

#[inline(never)]
fn http_client(address: SocketAddr) {
    let url = format!("http://{address}/");
    let answer = here!(ureq::get(&url).call());
    assert_eq!(answer.expect("an answer").status(), 200);
}
