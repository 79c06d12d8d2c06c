//! What the pointer arguments of a system call say, in words: how long it sleeps, where it connects to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::bytes::word;
use crate::clock::human;
use crate::procfs::thread::ThreadState;
use crate::sys::native::{Given, given, memory};
use crate::sys::system_call;

/// The name of the system call that a thread is in, and what follows it: `, 5 s` or ` to 10.1.2.3:80`.
pub(super) fn of_call(state: &ThreadState) -> Option<(&'static str, String)> {
    let ThreadState::Call { number, arguments, .. } = state else { return None };
    let given = read(given(*number, arguments)?)?;
    let (name, _) = system_call(*number, arguments);
    Some((name, given))
}

/// The memory may be unmapped by now, or hold anything.
fn read(given: Given) -> Option<String> {
    match given {
        Given::Time(address) => {
            let seconds = word(address)?;
            let nanos = u32::try_from(word(address.checked_add(8)?)?).ok()?;
            let valid = nanos < 1_000_000_000;
            valid.then(|| format!(", {}", human(Duration::new(seconds, nanos))))
        }
        Given::Peer(address) => {
            // A short one may lie at the end of mapped memory.
            let mut peer = [0; 28];
            let copied = memory::copy(address, &mut peer);
            Some(format!(" to {}", socket_address(&peer[..copied])?))
        }
    }
}

/// Parses a `sockaddr_in` or `sockaddr_in6`.
pub(super) fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    const IPV4: u16 = 2;
    const IPV6: u16 = 10;
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    let ip = match family {
        IPV4 => IpAddr::from(*bytes.get(4..)?.first_chunk::<4>()?),
        IPV6 => IpAddr::from(*bytes.get(8..)?.first_chunk::<16>()?),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let time = [5_u64.to_ne_bytes(), 250_000_000_u64.to_ne_bytes()].concat();
        let address = time.as_ptr() as u64;
        assert_eq!(read(Given::Time(address)).as_deref(), Some(", 5.250 s"));
        let time = [5_u64.to_ne_bytes(), 1_000_000_000_u64.to_ne_bytes()].concat();
        let address = time.as_ptr() as u64;
        assert_eq!(read(Given::Time(address)), None, "no time");
        assert_eq!(read(Given::Time(8)), None, "no memory");
    }

    #[test]
    fn addresses_are_read() {
        let mut ipv4 = vec![0; 16];
        ipv4[..2].copy_from_slice(&2_u16.to_ne_bytes());
        ipv4[2..8].copy_from_slice(&[0x15, 0x38, 10, 1, 2, 3]);
        assert_eq!(socket_address(&ipv4), Some(([10, 1, 2, 3], 5432).into()));
        let mut ipv6 = vec![0; 28];
        ipv6[..2].copy_from_slice(&10_u16.to_ne_bytes());
        ipv6[2..4].copy_from_slice(&443_u16.to_be_bytes());
        ipv6[23] = 1;
        assert_eq!(socket_address(&ipv6), Some((std::net::Ipv6Addr::LOCALHOST, 443).into()));
        assert_eq!(socket_address(&ipv6[..20]), None, "cut off");
        assert_eq!(socket_address(&[1; 28]), None, "another family");
        assert_eq!(read(Given::Peer(8)), None, "no memory");
    }
}
