//! The peer of a socket.

#[cfg(unix)]
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// The peer address of the socket with that descriptor; `None` if it has no peer.
///
/// Blocks while another thread holds the lock of the socket.
#[cfg(unix)]
pub(crate) fn peer(descriptor: u64) -> Option<String> {
    let descriptor = i32::try_from(descriptor).ok()?;
    // SAFETY: zeros are a valid address of the family AF_UNSPEC.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `address`, which has as many. It returns an
    // error if the descriptor is not open or no socket.
    let result =
        unsafe { libc::getpeername(descriptor, (&raw mut address).cast(), &raw mut length) };
    if result != 0 {
        return None;
    }
    match i32::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: an address of this family has this type, which is smaller than the storage
            // and no more strictly aligned.
            let v4 = unsafe { (&raw const address).cast::<libc::sockaddr_in>().read() };
            let ip = Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(SocketAddr::from((ip, u16::from_be(v4.sin_port))).to_string())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6 = unsafe { (&raw const address).cast::<libc::sockaddr_in6>().read() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::from((ip, u16::from_be(v6.sin6_port))).to_string())
        }
        libc::AF_UNIX => Some("a Unix socket".to_owned()),
        _ => None,
    }
}

#[cfg(not(unix))]
pub(crate) fn peer(_: u64) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::peer;

    fn of(socket: &impl AsRawFd) -> Option<String> {
        peer(u64::try_from(socket.as_raw_fd()).expect("not negative"))
    }

    #[test]
    fn a_peer_has_its_address() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(local) else { continue };
            let address = listener.local_addr().expect("bound");
            let stream = TcpStream::connect(address).expect("it listens");
            assert_eq!(of(&stream), Some(address.to_string()));
            assert_eq!(of(&listener), None);
        }
        let (one, _other) = UnixStream::pair().expect("a pair");
        assert_eq!(of(&one).as_deref(), Some("a Unix socket"));
        assert_eq!(of(&std::io::stdin()), None);
        assert_eq!(peer(u64::MAX), None);
    }
}
