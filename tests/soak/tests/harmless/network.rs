//! Calls that wait at a socket. Those with a time limit are not restarted after a signal.

use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::sync::Arc;
use std::time::Duration;

use crate::call::{Call, HOUR, NAP, Returned, timeval};

pub(crate) fn calls() -> Vec<Call> {
    vec![
        read_with_limit(),
        recv_within_limit("recv of TCP within its limit", Some(HOUR)),
        recv_within_limit("recv of TCP", None),
        recvfrom(),
        recvmsg(),
        unix_read(),
        send_to_full(),
        accept_with_limit(),
        accept(),
        connect_with_limit(),
    ]
}

/// How long the socket waits at most.
fn limit(socket: &impl AsRawFd, option: i32, time: Duration) {
    let time = timeval(time);
    let length = size_of_val(&time) as libc::socklen_t;
    let (fd, value) = (socket.as_raw_fd(), (&raw const time).cast());
    // SAFETY: the kernel reads one structure of ours.
    let set = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, value, length) };
    assert_eq!(set, 0);
}

fn recv(socket: &impl AsRawFd) -> Returned {
    let mut bytes = [7_u8; 8];
    let (fd, length) = (socket.as_raw_fd(), bytes.len());
    // SAFETY: room for that many bytes.
    Returned::of(unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), length, 0) }).and(bytes)
}

/// Both ends of a connection.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let ours = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    (ours, listener.accept().expect("it has connected").0)
}

fn read_with_limit() -> Call {
    let both = Arc::new(connection());
    limit(&both.0, libc::SO_RCVTIMEO, NAP);
    Call::timed("read of TCP to its limit", move || {
        let mut bytes = [7_u8; 8];
        let fd = both.0.as_raw_fd();
        // SAFETY: room for that many bytes.
        let read = unsafe { libc::read(fd, bytes.as_mut_ptr().cast(), bytes.len()) };
        Returned::of(read).and(bytes)
    })
}

fn recv_within_limit(name: &'static str, most: Option<Duration>) -> Call {
    let (ours, mut theirs) = connection();
    if let Some(most) = most {
        limit(&ours, libc::SO_RCVTIMEO, most);
    }
    let ours = Arc::new(ours);
    let send = move || theirs.write_all(b"tcp").expect("it is connected");
    Call::released(name, move || recv(&ours), send)
}

fn recvfrom() -> Call {
    let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").expect("a port"));
    limit(&*socket, libc::SO_RCVTIMEO, NAP);
    Call::timed("recvfrom of UDP to its limit", move || {
        let (mut bytes, none) = ([7_u8; 8], std::ptr::null_mut());
        let (fd, length) = (socket.as_raw_fd(), bytes.len());
        let place = bytes.as_mut_ptr().cast();
        // SAFETY: room for that many bytes; the sender's address is not asked for.
        let received = unsafe { libc::recvfrom(fd, place, length, 0, none, none.cast()) };
        Returned::of(received).and(bytes)
    })
}

fn recvmsg() -> Call {
    let (ours, theirs) = UnixDatagram::pair().expect("a pair");
    limit(&ours, libc::SO_RCVTIMEO, HOUR);
    let ours = Arc::new(ours);
    let receive = move || {
        let mut bytes = [7_u8; 8];
        let mut place = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: zeros are a valid `msghdr`: no address, no control data.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut place;
        message.msg_iovlen = 1;
        // SAFETY: the message has one piece, which lives until the call returns.
        let received = unsafe { libc::recvmsg(ours.as_raw_fd(), &raw mut message, 0) };
        Returned::of(received).and((bytes, message.msg_flags))
    };
    let send = move || assert_eq!(theirs.send(b"message").expect("it is connected"), 7);
    Call::released("recvmsg of a Unix socket within its limit", receive, send)
}

fn unix_read() -> Call {
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let ours = Arc::new(ours);
    let send = move || theirs.write_all(b"unix").expect("it is connected");
    Call::released("recv of a Unix socket", move || recv(&ours), send)
}

fn send_to_full() -> Call {
    let (mut ours, theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("a flag");
    while ours.write(&[0; 4096]).is_ok() {}
    while ours.write(&[0]).is_ok() {}
    ours.set_nonblocking(false).expect("a flag");
    limit(&ours, libc::SO_SNDTIMEO, NAP);
    let both = Arc::new((ours, theirs));
    Call::timed("send to a full Unix socket to its limit", move || {
        let bytes = [1_u8; 4096];
        let (fd, place) = (both.0.as_raw_fd(), bytes.as_ptr().cast());
        // SAFETY: as many bytes as there are.
        Returned::of(unsafe { libc::send(fd, place, bytes.len(), libc::MSG_NOSIGNAL) })
    })
}

fn accept_one(listener: &TcpListener) -> Returned {
    let none = std::ptr::null_mut();
    // SAFETY: an open descriptor; the other's address is not asked for.
    let accepted = unsafe { libc::accept(listener.as_raw_fd(), none, none.cast()) };
    let mut returned = Returned::of(accepted);
    if accepted >= 0 {
        // SAFETY: a descriptor that was just made and is nobody else's.
        drop(unsafe { OwnedFd::from_raw_fd(accepted) });
        // Its number is another each time.
        returned.value = 0;
    }
    returned
}

fn accept_with_limit() -> Call {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port"));
    limit(&*listener, libc::SO_RCVTIMEO, NAP);
    Call::timed("accept to its limit", move || accept_one(&listener))
}

fn accept() -> Call {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port"));
    limit(&*listener, libc::SO_RCVTIMEO, HOUR);
    let address = listener.local_addr().expect("bound");
    let connect = move || drop(TcpStream::connect(address).expect("it listens"));
    Call::released("accept within its limit", move || accept_one(&listener), connect)
}

/// To somebody who accepts nobody: the first fill the queue up.
fn connect_with_limit() -> Call {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    // SAFETY: takes numbers.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().expect("bound");
    let mut first = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        first.push(stream);
    }
    let kept = Arc::new((listener, first));
    Call::timed("connect to its limit", move || {
        // SAFETY: takes numbers and returns a descriptor that is nobody else's.
        let socket =
            unsafe { OwnedFd::from_raw_fd(libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0)) };
        limit(&socket, libc::SO_SNDTIMEO, NAP);
        let port = kept.0.local_addr().expect("bound").port();
        let address = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: port.to_be(),
            sin_addr: libc::in_addr { s_addr: libc::INADDR_LOOPBACK.to_be() },
            sin_zero: [0; 8],
        };
        let length = size_of_val(&address) as libc::socklen_t;
        let (fd, place) = (socket.as_raw_fd(), (&raw const address).cast());
        // SAFETY: an address of ours of that length.
        Returned::of(unsafe { libc::connect(fd, place, length) })
    })
}
