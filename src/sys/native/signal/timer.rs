//! A timer on the CPU time of one thread. When it expires, the kernel sends that thread the signal,
//! with a token.
//!
//! Since Linux 5.9 the tick at which such a timer expires only queues work for the thread, which gets
//! its signal when it returns to user space: from the tick at once, from a system call when that has
//! its result. A thread that waits spends no CPU time. So no call is ever cut short.

use std::sync::OnceLock;

use super::exchange::SIGNAL;
use crate::sys::native::cpu_time::cpu_clock;
use crate::sys::native::memory::errno;

/// The `si_code` of its signals.
pub(super) const SI_TIMER: i32 = -2;

/// Sends the signal once, at the next tick that finds the thread on a CPU, unless dropped before.
#[derive(Debug)]
pub(super) struct Timer(libc::timer_t);

impl Timer {
    /// # Errors
    ///
    /// The errno; ENOSYS if the kernel would send the signal within system calls.
    pub(super) fn start(thread: u32, token: u64) -> Result<Self, i32> {
        if !sends_on_return() {
            return Err(libc::ENOSYS);
        }
        // SAFETY: zeros are a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_notify_thread_id = thread as libc::pid_t;
        event.sigev_signo = SIGNAL;
        event.sigev_value.sival_ptr = std::ptr::without_provenance_mut(token as usize);
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: reads one variable of ours and writes another.
        done(unsafe { libc::timer_create(cpu_clock(thread), &raw mut event, &raw mut timer) })?;
        let timer = Self(timer);
        let after = |tv_nsec| libc::timespec { tv_sec: 0, tv_nsec };
        let time = libc::itimerspec { it_interval: after(0), it_value: after(1) };
        // SAFETY: the timer exists, the time is read, and nothing is written.
        done(unsafe { libc::timer_settime(timer.0, 0, &raw const time, std::ptr::null_mut()) })?;
        Ok(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer exists, and nobody else knows it.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Whether this kernel sends the signal when the thread returns to user space.
pub(super) fn sends_on_return() -> bool {
    static SENDS_ON_RETURN: OnceLock<bool> = OnceLock::new();
    *SENDS_ON_RETURN.get_or_init(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease");
        release.is_ok_and(|release| since_5_9(&release))
    })
}

fn since_5_9(release: &str) -> bool {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut number = || numbers.next()?.parse::<u32>().ok();
    number().zip(number()).is_some_and(|version| version >= (5, 9))
}

fn done(result: libc::c_int) -> Result<(), i32> {
    if result == 0 { Ok(()) } else { Err(errno()) }
}

#[cfg(test)]
mod tests {
    use super::since_5_9;

    #[test]
    fn releases_are_compared_by_their_numbers() {
        for (release, expected) in [
            ("5.9.0", true),
            ("5.10.0-28-amd64", true),
            ("6.18.44-cloud", true),
            ("5.8.18", false),
            ("4.18.0-553.el8_10.x86_64", false),
            ("4.4.0", false),
            ("6", false),
            ("", false),
        ] {
            assert_eq!(since_5_9(release), expected, "{release}");
        }
    }
}
