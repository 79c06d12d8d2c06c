//! CPU time of a thread.

/// The CPU time of a thread of this process, in nanoseconds; `None` if there is no such thread.
pub(crate) fn cpu_time(thread: u32) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one timespec, into a variable of ours, if it knows the clock.
    let result = unsafe { libc::clock_gettime(cpu_clock(thread), &raw mut time) };
    let nanos = (time.tv_sec as u64).checked_mul(1_000_000_000)?.checked_add(time.tv_nsec as u64);
    if result == 0 { nanos } else { None }
}

/// How long this thread has been on a CPU, in nanoseconds.
pub(crate) fn own_cpu_time() -> u64 {
    cpu_time(crate::sys::thread_id()).unwrap_or(0)
}

/// The clock of a thread's CPU time, by the kernel's formula.
pub(super) fn cpu_clock(thread: u32) -> libc::clockid_t {
    (!(thread as libc::clockid_t) << 3) | 6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_time_of_a_thread_moves_while_it_runs() {
        let own = crate::sys::thread_id();
        let before = cpu_time(own).expect("it lives");
        while cpu_time(own).expect("it lives") < before + 1_000_000 {}
        assert_eq!(cpu_time(u32::MAX >> 4), None);
    }
}
