//! The object behind a file descriptor.

use std::fs;

/// The object behind a file descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Object {
    Socket,
    Pipe,
    /// A file, a named pipe or a device. Its name.
    File(String),
    /// What a child of the thread writes to both its outputs.
    ChildOutput,
    /// An object of the kernel without a name: `eventfd`, `timerfd`, `pidfd`, …. Its kind.
    Anonymous(String),
}

/// Asks the kernel; `None` if the descriptor is not open (any more).
pub(crate) fn describe(descriptor: u64) -> Option<Object> {
    let link = fs::read_link(format!("/proc/self/fd/{descriptor}")).ok()?;
    Some(object(&link.to_string_lossy()))
}

pub(super) fn object(link: &str) -> Object {
    if link.starts_with("socket:") {
        return Object::Socket;
    }
    match link.strip_prefix("anon_inode:") {
        Some(kind) => Object::Anonymous(kind.trim_matches(['[', ']']).to_owned()),
        None if link.starts_with("pipe:") => Object::Pipe,
        None => Object::File(link.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(link: &str, expected: Object) {
        assert_eq!(object(link), expected, "{link}");
    }

    #[test]
    fn links_say_what_they_stand_for() {
        check("socket:[12345]", Object::Socket);
        check("pipe:[77]", Object::Pipe);
        check("/data/big.csv", Object::File("/data/big.csv".into()));
        check("/dev/pts/3", Object::File("/dev/pts/3".into()));
        check("anon_inode:[eventfd]", Object::Anonymous("eventfd".into()));
        check("anon_inode:inotify", Object::Anonymous("inotify".into()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn descriptors_of_this_process_are_known() {
        use std::os::fd::AsRawFd;

        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let number = u64::try_from(socket.as_raw_fd()).expect("not negative");
        assert_eq!(describe(number), Some(Object::Socket));
        assert_eq!(describe(u64::MAX), None);
    }
}
