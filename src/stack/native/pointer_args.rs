//! What a call was given in memory, in words: how long to sleep, where to connect to.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::clock::human;
use crate::procfs::thread::ThreadState;
use crate::sys::native::{Given, given, memory};
use crate::sys::system_call;

/// The call that a thread is in, if it is in one, and what that was given, to come after its name.
pub(super) fn of_call(state: &ThreadState) -> Option<(&'static str, String)> {
    let ThreadState::Call { number, arguments, .. } = state else { return None };
    let given = read(given(*number, arguments)?)?;
    Some((system_call(*number, arguments).name, given))
}

/// The memory may be gone, or hold anything.
fn read(given: Given) -> Option<String> {
    match given {
        Given::Time(address) => {
            let mut time = [0; 16];
            let whole = memory::copy(address, &mut time) == time.len();
            let time = if whole { duration(&time) } else { None };
            Some(format!(", {}", human(time?)))
        }
        Given::Peer(address) => {
            // A short one may stand at the end of what is mapped.
            let mut peer = [0; 28];
            let copied = memory::copy(address, &mut peer);
            Some(format!(" to {}", socket_address(&peer[..copied])?))
        }
    }
}

/// Of a `timespec`.
fn duration(time: &[u8; 16]) -> Option<Duration> {
    let (seconds, nanos) = time.split_at(8);
    let seconds = u64::from_ne_bytes(seconds.try_into().ok()?);
    let nanos = u32::try_from(u64::from_ne_bytes(nanos.try_into().ok()?)).ok()?;
    (nanos < 1_000_000_000).then(|| Duration::new(seconds, nanos))
}

/// Of a `sockaddr_in` or `sockaddr_in6`.
fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    const IPV4: u16 = 2;
    const IPV6: u16 = 10;
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    match family {
        IPV4 => {
            let address: [u8; 4] = bytes.get(4..8)?.try_into().ok()?;
            Some((Ipv4Addr::from(address), port).into())
        }
        IPV6 => {
            let address: [u8; 16] = bytes.get(8..24)?.try_into().ok()?;
            Some((Ipv6Addr::from(address), port).into())
        }
        _ => None,
    }
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
        assert_eq!(socket_address(&ipv6), Some((Ipv6Addr::LOCALHOST, 443).into()));
        assert_eq!(socket_address(&ipv6[..20]), None, "cut off");
        assert_eq!(socket_address(&[1; 28]), None, "another family");
        assert_eq!(read(Given::Peer(8)), None, "no memory");
    }
}
