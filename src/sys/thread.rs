//! The thread id.

/// The thread id of the calling thread, as in `/proc/self/task`; 0 on systems other than Linux.
pub(crate) fn thread_id() -> u32 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        // SAFETY: gettid takes no argument, touches no memory of ours and cannot fail.
        let tid = unsafe { libc::syscall(libc::SYS_gettid) };
        u32::try_from(tid).unwrap_or(0)
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    0
}

/// Calls `forked` in each child that is forked from now on, on its only thread. It must be
/// async-signal-safe.
pub(crate) fn at_fork(forked: extern "C" fn()) {
    // SAFETY: the function lives as long as the program, and is safe to call in a forked child.
    #[cfg(unix)]
    unsafe {
        libc::pthread_atfork(None, None, Some(forked));
    }
    #[cfg(not(unix))]
    let _ = forked;
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_kernel_knows_this_thread_by_that_number() {
        let own = format!("/proc/self/task/{}", super::thread_id());
        assert!(std::path::Path::new(&own).exists(), "{own}");
    }
}
