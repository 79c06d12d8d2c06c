//! An option of listening sockets.

/// Lets the kernel keep connections back until their first bytes are there, for about so many seconds.
/// Where it cannot, they come at once.
#[cfg(target_os = "linux")]
pub(crate) fn defer_accept(listener: &impl std::os::fd::AsRawFd, seconds: i32) {
    let length = size_of_val(&seconds) as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes from `seconds`, which has as many. It returns an error if the
    // descriptor is no such socket.
    let _refused = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            length,
        )
    };
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn defer_accept<T>(_: &T, _: i32) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{ErrorKind, Write};
    use std::net::{TcpListener, TcpStream};

    use super::defer_accept;

    #[test]
    fn a_connection_comes_with_its_first_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        defer_accept(&listener, 30);
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("bound");
        let _silent = TcpStream::connect(address).expect("it listens");
        let mut client = TcpStream::connect(address).expect("it listens");
        assert_eq!(listener.accept().expect_err("none has sent").kind(), ErrorKind::WouldBlock);
        client.write_all(b"x").expect("it is taken");
        let own = client.local_addr().expect("bound");
        let accepted = std::iter::repeat_with(|| listener.accept()).find_map(Result::ok);
        assert_eq!(accepted.expect("one").1, own);
    }
}
