//! Who is at the other end of a socket.

/// The address of the other end of the socket with that descriptor; `None` if it has none.
///
/// Waits while another thread changes the socket.
#[cfg(unix)]
pub(crate) fn peer(descriptor: u64) -> Option<String> {
    let descriptor = i32::try_from(descriptor).ok()?;
    // SAFETY: all zeroes is a valid address of the family AF_UNSPEC.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut length = libc::socklen_t::try_from(size_of_val(&address)).ok()?;
    // SAFETY: the kernel writes at most `length` bytes to `address`, which has as many; a
    // descriptor that is none, or no socket, is an error that it returns.
    let result =
        unsafe { libc::getpeername(descriptor, (&raw mut address).cast(), &raw mut length) };
    if result != 0 {
        return None;
    }
    match i32::from(address.ss_family) {
        libc::AF_INET => {
            // SAFETY: an address of this family has this type, which is smaller than the storage
            // and no more strictly aligned.
            let v4: libc::sockaddr_in =
                unsafe { (&raw const address).cast::<libc::sockaddr_in>().read() };
            let ip = std::net::Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr));
            Some(std::net::SocketAddrV4::new(ip, u16::from_be(v4.sin_port)).to_string())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let v6: libc::sockaddr_in6 =
                unsafe { (&raw const address).cast::<libc::sockaddr_in6>().read() };
            let ip = std::net::Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(std::net::SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, 0).to_string())
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
    fn the_other_end_has_a_name() {
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
