//! System calls by what they wait for. The numbers are libc's, so each architecture has its own.

/// What a thread inside a system call waits for.
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "no other system is asked"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// For a time to come.
    Sleep,
    /// For another thread or process to let go of something.
    Lock,
    /// For what the descriptor in its first argument stands for.
    Descriptor,
    /// For several descriptors, in a list in memory.
    Descriptors,
    /// For a file that has no descriptor yet, or for all of a file system.
    File,
    /// For a child process.
    Child,
    /// For something else.
    Other,
}

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SystemCall {
    pub(crate) name: &'static str,
    pub(crate) waits: Waits,
}

const OTHER: SystemCall = SystemCall { name: "a system call", waits: Waits::Other };

/// What the call of that number waits for, with those arguments.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn system_call(number: i64, arguments: &[u64; 6]) -> SystemCall {
    let Some((_, name, waits)) = CALLS.iter().find(|(known, ..)| *known == number) else {
        return OTHER;
    };
    let waits = match *name {
        "fcntl" => locks(arguments[1]),
        "poll" | "select" if is_empty(name, arguments) => Waits::Sleep,
        _ => *waits,
    };
    SystemCall { name, waits }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn system_call(_: i64, _: &[u64; 6]) -> SystemCall {
    OTHER
}

/// An `fcntl` that waits, waits for a lock.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn locks(command: u64) -> Waits {
    const WAIT: [i32; 2] = [libc::F_SETLKW, libc::F_OFD_SETLKW];
    let waits = WAIT.iter().any(|wait| u64::try_from(*wait) == Ok(command));
    if waits { Waits::Lock } else { Waits::Descriptor }
}

/// Whether no descriptor is waited for: then it is a sleep.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_empty(name: &str, arguments: &[u64; 6]) -> bool {
    arguments[usize::from(name == "poll")] == 0
}

#[cfg(any(target_os = "linux", target_os = "android"))]
macro_rules! calls {
    ($($(#[$cfg:meta])* $number:ident $name:literal $waits:ident,)*) => {
        &[$($(#[$cfg])* (libc::$number, $name, Waits::$waits),)*]
    };
}

/// Those that can wait for long. `poll` and `select` stand for their newer forms too.
#[cfg(any(target_os = "linux", target_os = "android"))]
static CALLS: &[(i64, &str, Waits)] = calls! {
    SYS_nanosleep "nanosleep" Sleep,
    SYS_clock_nanosleep "clock_nanosleep" Sleep,
    SYS_futex "futex" Lock,
    SYS_flock "flock" Lock,
    SYS_fcntl "fcntl" Descriptor,
    SYS_semop "semop" Lock,
    SYS_semtimedop "semtimedop" Lock,
    SYS_read "read" Descriptor,
    SYS_pread64 "pread64" Descriptor,
    SYS_readv "readv" Descriptor,
    SYS_preadv "preadv" Descriptor,
    SYS_preadv2 "preadv2" Descriptor,
    SYS_write "write" Descriptor,
    SYS_pwrite64 "pwrite64" Descriptor,
    SYS_writev "writev" Descriptor,
    SYS_pwritev "pwritev" Descriptor,
    SYS_pwritev2 "pwritev2" Descriptor,
    SYS_sendfile "sendfile" Descriptor,
    SYS_splice "splice" Descriptor,
    SYS_copy_file_range "copy_file_range" Descriptor,
    SYS_fsync "fsync" Descriptor,
    SYS_fdatasync "fdatasync" Descriptor,
    SYS_sync_file_range "sync_file_range" Descriptor,
    SYS_fallocate "fallocate" Descriptor,
    SYS_ftruncate "ftruncate" Descriptor,
    SYS_getdents64 "getdents64" Descriptor,
    SYS_ioctl "ioctl" Descriptor,
    SYS_close "close" Descriptor,
    SYS_recvfrom "recvfrom" Descriptor,
    SYS_recvmsg "recvmsg" Descriptor,
    SYS_recvmmsg "recvmmsg" Descriptor,
    SYS_sendto "sendto" Descriptor,
    SYS_sendmsg "sendmsg" Descriptor,
    SYS_sendmmsg "sendmmsg" Descriptor,
    SYS_connect "connect" Descriptor,
    SYS_accept "accept" Descriptor,
    SYS_accept4 "accept4" Descriptor,
    #[cfg(target_arch = "x86_64")]
    SYS_poll "poll" Descriptors,
    SYS_ppoll "poll" Descriptors,
    #[cfg(target_arch = "x86_64")]
    SYS_select "select" Descriptors,
    SYS_pselect6 "select" Descriptors,
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_wait "epoll_wait" Descriptor,
    SYS_epoll_pwait "epoll_wait" Descriptor,
    SYS_epoll_pwait2 "epoll_wait" Descriptor,
    #[cfg(target_arch = "x86_64")]
    SYS_open "open" File,
    SYS_openat "open" File,
    #[cfg(target_arch = "x86_64")]
    SYS_stat "stat" File,
    #[cfg(target_arch = "x86_64")]
    SYS_lstat "stat" File,
    #[cfg(target_arch = "x86_64")]
    SYS_newfstatat "stat" File,
    SYS_statx "stat" File,
    SYS_faccessat "access" File,
    SYS_unlinkat "unlink" File,
    #[cfg(target_arch = "x86_64")]
    SYS_unlink "unlink" File,
    #[cfg(target_arch = "x86_64")]
    SYS_rename "rename" File,
    SYS_renameat2 "rename" File,
    SYS_mkdirat "mkdir" File,
    SYS_truncate "truncate" File,
    SYS_readlinkat "readlink" File,
    SYS_sync "sync" File,
    SYS_syncfs "syncfs" File,
    SYS_msync "msync" File,
    SYS_wait4 "wait4" Child,
    SYS_waitid "waitid" Child,
};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn check(number: i64, arguments: [u64; 6], expected: (&str, Waits)) {
        let call = system_call(number, &arguments);
        assert_eq!((call.name, call.waits), expected);
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
        check(libc::SYS_getpid, [0; 6], ("a system call", Waits::Other));
        check(-1, [0; 6], ("a system call", Waits::Other));
    }
}
