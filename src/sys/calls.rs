//! System calls by what they wait for.

/// What a thread inside a system call waits for.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux shows system calls"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For a time to come.
    Sleep,
    /// For another thread or process to release something.
    Lock,
    /// For the object behind the descriptor in its first argument.
    Descriptor,
    /// For several descriptors, listed in memory.
    Descriptors,
    /// For a file without a descriptor yet, or for a whole file system.
    File,
    /// For a child process.
    Child,
    /// For something else.
    Other,
}

/// The word at which a system call waits for a change, and what it held; `None` for another one.
#[allow(dead_code, reason = "called only where stacks are taken")]
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn futex_wait(number: i64, arguments: &[u64; 6]) -> Option<(u64, u32)> {
    const OPERATION: u64 = 0x7f;
    let waits = [libc::FUTEX_WAIT as u64, libc::FUTEX_WAIT_BITSET as u64];
    let is_wait = number == libc::SYS_futex && waits.contains(&(arguments[1] & OPERATION));
    is_wait.then_some((arguments[0], arguments[2] as u32))
}

/// The name of the system call with that number and those arguments, and what it waits for. `poll`
/// and `select` stand for their newer forms, too.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn system_call(number: i64, arguments: &[u64; 6]) -> (&'static str, Waits) {
    use Waits::{Child, Descriptor, Descriptors, File, Lock, Sleep};

    const WAITS_FOR_LOCK: [u64; 2] = [libc::F_SETLKW as u64, libc::F_OFD_SETLKW as u64];
    // Without descriptors they sleep.
    let of_poll = if arguments[1] == 0 { Sleep } else { Descriptors };
    let of_select = if arguments[0] == 0 { Sleep } else { Descriptors };
    match number {
        libc::SYS_nanosleep => ("nanosleep", Sleep),
        libc::SYS_clock_nanosleep => ("clock_nanosleep", Sleep),
        libc::SYS_futex => ("futex", Lock),
        libc::SYS_flock => ("flock", Lock),
        libc::SYS_fcntl if WAITS_FOR_LOCK.contains(&arguments[1]) => ("fcntl", Lock),
        libc::SYS_fcntl => ("fcntl", Descriptor),
        libc::SYS_semop => ("semop", Lock),
        libc::SYS_semtimedop => ("semtimedop", Lock),
        libc::SYS_read => ("read", Descriptor),
        libc::SYS_pread64 => ("pread64", Descriptor),
        libc::SYS_readv => ("readv", Descriptor),
        libc::SYS_preadv => ("preadv", Descriptor),
        libc::SYS_preadv2 => ("preadv2", Descriptor),
        libc::SYS_write => ("write", Descriptor),
        libc::SYS_pwrite64 => ("pwrite64", Descriptor),
        libc::SYS_writev => ("writev", Descriptor),
        libc::SYS_pwritev => ("pwritev", Descriptor),
        libc::SYS_pwritev2 => ("pwritev2", Descriptor),
        libc::SYS_sendfile => ("sendfile", Descriptor),
        libc::SYS_splice => ("splice", Descriptor),
        libc::SYS_copy_file_range => ("copy_file_range", Descriptor),
        libc::SYS_fsync => ("fsync", Descriptor),
        libc::SYS_fdatasync => ("fdatasync", Descriptor),
        libc::SYS_sync_file_range => ("sync_file_range", Descriptor),
        libc::SYS_fallocate => ("fallocate", Descriptor),
        libc::SYS_ftruncate => ("ftruncate", Descriptor),
        libc::SYS_getdents64 => ("getdents64", Descriptor),
        libc::SYS_ioctl => ("ioctl", Descriptor),
        libc::SYS_close => ("close", Descriptor),
        libc::SYS_recvfrom => ("recvfrom", Descriptor),
        libc::SYS_recvmsg => ("recvmsg", Descriptor),
        libc::SYS_recvmmsg => ("recvmmsg", Descriptor),
        libc::SYS_sendto => ("sendto", Descriptor),
        libc::SYS_sendmsg => ("sendmsg", Descriptor),
        libc::SYS_sendmmsg => ("sendmmsg", Descriptor),
        libc::SYS_connect => ("connect", Descriptor),
        libc::SYS_accept => ("accept", Descriptor),
        libc::SYS_accept4 => ("accept4", Descriptor),
        libc::SYS_ppoll => ("poll", of_poll),
        libc::SYS_pselect6 => ("select", of_select),
        libc::SYS_epoll_pwait | libc::SYS_epoll_pwait2 => ("epoll_wait", Descriptor),
        libc::SYS_openat => ("open", File),
        libc::SYS_statx => ("stat", File),
        #[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
        libc::SYS_newfstatat => ("stat", File),
        libc::SYS_faccessat => ("access", File),
        libc::SYS_unlinkat => ("unlink", File),
        libc::SYS_renameat2 => ("rename", File),
        libc::SYS_mkdirat => ("mkdir", File),
        libc::SYS_truncate => ("truncate", File),
        libc::SYS_readlinkat => ("readlink", File),
        libc::SYS_sync => ("sync", File),
        libc::SYS_syncfs => ("syncfs", File),
        libc::SYS_msync => ("msync", File),
        libc::SYS_wait4 => ("wait4", Child),
        libc::SYS_waitid => ("waitid", Child),
        // Until the child runs another program.
        libc::SYS_clone => ("clone", Child),
        libc::SYS_clone3 => ("clone3", Child),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork => ("vfork", Child),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => ("poll", of_poll),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => ("select", of_select),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => ("epoll_wait", Descriptor),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => ("open", File),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_stat | libc::SYS_lstat => ("stat", File),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_unlink => ("unlink", File),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename => ("rename", File),
        _ => ("a system call", Waits::Other),
    }
}

/// Whether a system call waits for two descriptors, for as long as that takes.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn waits_for_two(number: i64, arguments: &[u64; 6]) -> bool {
    let has_no_limit = match number {
        libc::SYS_ppoll => arguments[2] == 0,
        // A limit is 32 bits wide; what is in the upper half does not count.
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => arguments[2] as u32 as i32 == -1,
        _ => false,
    };
    has_no_limit && arguments[1] == 2
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn waits_for_two(_: i64, _: &[u64; 6]) -> bool {
    false
}

#[allow(dead_code, reason = "called only where stacks are taken")]
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn futex_wait(_: i64, _: &[u64; 6]) -> Option<(u64, u32)> {
    None
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn system_call(_: i64, _: &[u64; 6]) -> (&'static str, Waits) {
    ("a system call", Waits::Other)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn check(number: i64, arguments: [u64; 6], expected: (&str, Waits)) {
        assert_eq!(system_call(number, &arguments), expected);
    }

    #[test]
    fn calls_wait_for_what_their_arguments_say() {
        check(libc::SYS_clock_nanosleep, [0; 6], ("clock_nanosleep", Waits::Sleep));
        check(libc::SYS_futex, [0; 6], ("futex", Waits::Lock));
        check(libc::SYS_ppoll, [7, 0, 0, 0, 0, 0], ("poll", Waits::Sleep));
        check(libc::SYS_ppoll, [7, 1, 0, 0, 0, 0], ("poll", Waits::Descriptors));
        check(libc::SYS_pselect6, [0; 6], ("select", Waits::Sleep));
        let command = u64::try_from(libc::F_SETLKW).expect("not negative");
        check(libc::SYS_fcntl, [3, command, 0, 0, 0, 0], ("fcntl", Waits::Lock));
        check(libc::SYS_fcntl, [3, 1, 0, 0, 0, 0], ("fcntl", Waits::Descriptor));
        check(libc::SYS_clone, [0; 6], ("clone", Waits::Child));
        check(libc::SYS_getpid, [0; 6], ("a system call", Waits::Other));
        check(-1, [0; 6], ("a system call", Waits::Other));
    }

    #[test]
    fn two_descriptors_may_be_waited_for_without_a_limit() {
        assert!(waits_for_two(libc::SYS_ppoll, &[7, 2, 0, 0, 0, 0]));
        assert!(!waits_for_two(libc::SYS_ppoll, &[7, 2, 7, 0, 0, 0]), "until then");
        assert!(!waits_for_two(libc::SYS_ppoll, &[7, 1, 0, 0, 0, 0]), "one");
        #[cfg(target_arch = "x86_64")]
        for (limit, expected) in [(u64::MAX, true), (0xffff_ffff, true), (5_000, false)] {
            assert_eq!(waits_for_two(libc::SYS_poll, &[7, 2, limit, 0, 0, 0]), expected);
        }
    }
}
