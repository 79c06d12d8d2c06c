//! Real faults and what the detector makes of them: cause and detail.

mod environment;
mod faults;

use std::time::{Duration, Instant};

/// Computes for that long, by the thread's own clock.
fn compute(time: Duration) {
    let start = cpu_time();
    let mut sum = 0_u64;
    while cpu_time() - start < time {
        for number in 0..1000 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(number));
        }
    }
}

/// CPU time of the calling thread.
fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock exists and the kernel writes one timespec to where it may.
    let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    assert_eq!(result, 0);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Computes without asking for the time in the kernel's books.
fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
