//! A timer for one thread that has the kernel send it the signal, out of its own code only.
//!
//! It runs in the kernel, while the thread is on a CPU. Where it goes off within a system call,
//! nothing happens until the next time; where it has interrupted the thread's own code, the signal
//! is sent before that goes on. So no system call is ever interrupted by it.
//!
//! Not asked for one signal and no more (`PERF_EVENT_IOC_REFRESH`): Linux 6.17 stands still where
//! a timer stops itself. The handler stops it, or who closes it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::SIGNAL;
use crate::sys::perf::{self, Attributes, DISABLED, OWN_CODE};
use crate::sys::thread_id;

/// How much the thread runs from one time to the next, in nanoseconds. Some times what an interrupt
/// takes, on a virtual machine too: at 20 µs there were machines on which a thread did not get
/// through our handler, for all the interrupts until it had stopped them.
const PERIOD: u64 = 1_000_000;

const SOFTWARE: u32 = 1;
const TASK_CLOCK: u64 = 1;
const STOP: libc::c_ulong = 0x2401;

/// What libc does not have everywhere.
const SET_OWNER: libc::c_int = 15;
const SET_SIGNAL: libc::c_int = 10;
const GET_SIGNAL: libc::c_int = 11;
/// The code of a signal for a descriptor that has something to tell.
pub(super) const POLL_IN: i32 = 1;

/// `struct f_owner_ex`
#[repr(C)]
struct Owner {
    kind: libc::c_int,
    thread: libc::pid_t,
}
const THREAD: libc::c_int = 0;

/// Sends when it was told to, until it is dropped.
#[derive(Debug)]
pub(super) struct Timer(OwnedFd);

impl Timer {
    /// One that sends nothing yet.
    ///
    /// # Errors
    ///
    /// The errno of the system.
    pub(super) fn open(thread: u32) -> Result<Self, i32> {
        let attributes = Attributes {
            kind: SOFTWARE,
            config: TASK_CLOCK,
            sample_period: PERIOD,
            flags: OWN_CODE,
            ..Attributes::default()
        };
        let timer = Self(perf::open(attributes, thread).map_err(number)?);
        let owner = Owner { kind: THREAD, thread: thread as libc::pid_t };
        // SAFETY: the kernel reads one structure of ours.
        done(unsafe { libc::fcntl(timer.fd(), SET_OWNER, &raw const owner) })?;
        // SAFETY: takes numbers.
        done(unsafe { libc::fcntl(timer.fd(), SET_SIGNAL, SIGNAL) })?;
        Ok(timer)
    }

    /// Sends from now on.
    pub(super) fn start(&self) -> Result<(), i32> {
        self.sends(libc::O_ASYNC)
    }

    pub(super) fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    fn sends(&self, flag: libc::c_int) -> Result<(), i32> {
        // SAFETY: takes numbers.
        done(unsafe { libc::fcntl(self.fd(), libc::F_SETFL, flag) })
    }
}

impl Drop for Timer {
    /// Sends nothing more, even where a child that is being started has a copy of it.
    fn drop(&mut self) {
        let _open = self.sends(0);
    }
}

/// An event that never comes, of the calling thread. While there is none in the whole system, the
/// kernel takes some 10 ms to make the first.
#[derive(Debug)]
pub(crate) struct Ready(#[allow(dead_code, reason = "kept open")] Option<OwnedFd>);

impl Ready {
    pub(crate) fn new() -> Self {
        let attributes = Attributes {
            kind: SOFTWARE,
            config: TASK_CLOCK,
            flags: OWN_CODE | DISABLED,
            ..Attributes::default()
        };
        Self(perf::open(attributes, thread_id()).ok())
    }
}

/// Stops the timer with that descriptor, if there is one. Async-signal-safe.
pub(super) fn stop(fd: RawFd) {
    if fd < 0 {
        return;
    }
    // SAFETY: takes numbers.
    unsafe { libc::ioctl(fd, STOP, 0) };
}

/// Whether the descriptor sends our signal: it is somebody else's then, unless it is a timer's.
/// Async-signal-safe.
pub(super) fn is_sender(fd: RawFd) -> bool {
    // SAFETY: takes numbers.
    unsafe { libc::fcntl(fd, GET_SIGNAL) == SIGNAL }
}

fn done(result: libc::c_int) -> Result<(), i32> {
    if result == -1 { Err(number(io::Error::last_os_error())) } else { Ok(()) }
}

fn number(error: io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::EPERM)
}
