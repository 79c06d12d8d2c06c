//! Who a thread is to the kernel.

/// The kernel's number of the calling thread, as under `/proc/self/task`; 0 where the system
/// has none to tell.
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

/// How long a thread of this process has been on a CPU, in nanoseconds, up to this moment; `None`
/// where there is no such thread.
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn cpu_time(thread: u32) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec to where it may, if it knows the clock.
    let result = unsafe { libc::clock_gettime(cpu_clock(thread), &raw mut time) };
    let nanos = (time.tv_sec as u64).checked_mul(1_000_000_000)?.checked_add(time.tv_nsec as u64);
    if result == 0 { nanos } else { None }
}

/// The clock of a thread's time on the CPU, by the number that the kernel builds for it.
#[cfg(all(feature = "capture", target_os = "linux", target_arch = "x86_64"))]
pub(super) fn cpu_clock(thread: u32) -> libc::clockid_t {
    (!(thread as libc::clockid_t) << 3) | 6
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn the_kernel_knows_this_thread_by_that_number() {
        let own = format!("/proc/self/task/{}", super::thread_id());
        assert!(std::path::Path::new(&own).exists(), "{own}");
    }

    #[cfg(all(feature = "capture", target_arch = "x86_64"))]
    #[test]
    fn the_cpu_time_of_a_thread_moves_while_it_runs() {
        let own = super::thread_id();
        let before = super::cpu_time(own).expect("it lives");
        while super::cpu_time(own).expect("it lives") < before + 1_000_000 {}
        assert_eq!(super::cpu_time(u32::MAX >> 4), None);
    }
}
