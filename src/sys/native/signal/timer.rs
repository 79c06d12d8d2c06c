//! A timer of one thread's time on the CPU, which has the kernel send that thread the signal, with a
//! token.
//!
//! Since Linux 5.9 the tick that finds such a timer over only leaves word for the thread, which gets
//! its signal on its way back to its own code: out of the tick at once, out of a system call when
//! that has its result. A thread that waits spends no time. So no call is ever cut short.

use std::sync::OnceLock;

use super::exchange::SIGNAL;
use crate::sys::native::cpu_time::cpu_clock;
use crate::sys::native::memory::errno;

/// The code of its signals.
pub(super) const SI_TIMER: i32 = -2;

/// Sends once, at the next tick that finds the thread on a CPU, unless it is dropped before.
#[derive(Debug)]
pub(super) struct Timer(libc::timer_t);

impl Timer {
    /// # Errors
    ///
    /// The errno of the system; ENOSYS where the kernel would send the signal within calls.
    pub(super) fn start(thread: u32, token: u64) -> Result<Self, i32> {
        if !leaves_word() {
            return Err(libc::ENOSYS);
        }
        // SAFETY: zeros are a valid `sigevent`.
        let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
        event.sigev_notify = libc::SIGEV_THREAD_ID;
        event.sigev_notify_thread_id = thread as libc::pid_t;
        event.sigev_signo = SIGNAL;
        event.sigev_value.sival_ptr = std::ptr::without_provenance_mut(token as usize);
        let mut timer: libc::timer_t = std::ptr::null_mut();
        // SAFETY: reads one structure of ours and writes another.
        done(unsafe { libc::timer_create(cpu_clock(thread), &raw mut event, &raw mut timer) })?;
        let timer = Self(timer);
        let at_once = libc::timespec { tv_sec: 0, tv_nsec: 1 };
        let never_again = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let time = libc::itimerspec { it_interval: never_again, it_value: at_once };
        // SAFETY: the timer is there, the time is read, and nothing is written.
        done(unsafe { libc::timer_settime(timer.0, 0, &raw const time, std::ptr::null_mut()) })?;
        Ok(timer)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the timer is there, and nobody else knows of it.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Whether this kernel sends the signal as described above.
pub(super) fn leaves_word() -> bool {
    static LEAVES_WORD: OnceLock<bool> = OnceLock::new();
    *LEAVES_WORD.get_or_init(|| release().is_some_and(|release| since_5_9(&release)))
}

fn release() -> Option<String> {
    // SAFETY: zeros are a valid `utsname`.
    let mut name: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the system writes one structure of ours.
    done(unsafe { libc::uname(&raw mut name) }).ok()?;
    let release = name.release.iter().take_while(|letter| **letter != 0);
    String::from_utf8(release.map(|letter| *letter as u8).collect()).ok()
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
