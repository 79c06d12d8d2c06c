//! System calls whose arguments point to memory that says more about the wait.

/// An argument that points to this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Given {
    /// A `timespec`: how long to sleep.
    Time(u64),
    /// A `sockaddr`: where to connect to.
    Peer(u64),
}

/// The pointer argument of that system call that says more about its wait, if there is one.
pub(crate) fn given(number: i64, arguments: &[u64; 6]) -> Option<Given> {
    let until = libc::TIMER_ABSTIME as u64;
    match number {
        libc::SYS_nanosleep => Some(Given::Time(arguments[0])),
        libc::SYS_clock_nanosleep if arguments[1] & until == 0 => Some(Given::Time(arguments[2])),
        libc::SYS_connect => Some(Given::Peer(arguments[1])),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_was_given_is_in_memory() {
        let arguments = |flags| [1, flags, 0x7ffd, 0x7ffe, 0, 0];
        let sleep = Some(Given::Time(0x7ffd));
        assert_eq!(given(libc::SYS_clock_nanosleep, &arguments(0)), sleep);
        assert_eq!(given(libc::SYS_clock_nanosleep, &arguments(1)), None, "until then");
        assert_eq!(given(libc::SYS_nanosleep, &arguments(0)), Some(Given::Time(1)));
        assert_eq!(given(libc::SYS_connect, &arguments(0x7fff)), Some(Given::Peer(0x7fff)));
        assert_eq!(given(libc::SYS_futex, &arguments(0)), None);
    }
}
