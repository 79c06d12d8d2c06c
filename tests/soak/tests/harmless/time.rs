//! Calls that wait for a time, or for a descriptor for some time.

use std::io::{PipeReader, PipeWriter, pipe};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use crate::call::{Call, NAP, Returned, in_a_while, timespec, timeval};

/// What no call leaves behind as the time that is left.
const UNTOUCHED: libc::timespec = libc::timespec { tv_sec: 7, tv_nsec: 77 };

pub(crate) fn calls() -> Vec<Call> {
    let quiet = Quiet::new();
    let polled = Arc::clone(&quiet);
    let ppolled = Arc::clone(&quiet);
    let epoll = Arc::new(epoll(&quiet));
    let waited = Arc::clone(&epoll);
    let kept = Arc::clone(&quiet);
    vec![
        Call::timed("nanosleep", nanosleep),
        Call::timed("clock_nanosleep", || clock_nanosleep(0)),
        Call::timed("clock_nanosleep until", || clock_nanosleep(libc::TIMER_ABSTIME)),
        Call::timed("usleep", usleep),
        Call::timed("poll", move || poll(&polled)),
        Call::timed("poll of nothing", poll_of_nothing),
        Call::timed("ppoll", move || ppoll(&ppolled)),
        Call::timed("select", select),
        Call::timed("pselect", pselect),
        Call::timed("epoll_wait", move || epoll_wait(&waited, &kept)),
        Call::timed("epoll_pwait", move || epoll_pwait(&epoll, &quiet)),
        Call::timed("sigtimedwait", sigtimedwait),
        Call::timed("timerfd", timerfd),
    ]
}

/// A pipe that nobody writes to.
struct Quiet {
    reader: PipeReader,
    _writer: PipeWriter,
}

impl Quiet {
    fn new() -> Arc<Self> {
        let (reader, writer) = pipe().expect("a pipe");
        Arc::new(Self { reader, _writer: writer })
    }

    fn wanted(&self) -> libc::pollfd {
        libc::pollfd { fd: self.reader.as_raw_fd(), events: libc::POLLIN, revents: 0 }
    }
}

fn millis() -> i32 {
    NAP.as_millis() as i32
}

fn nanosleep() -> Returned {
    let (nap, mut left) = (timespec(NAP), UNTOUCHED);
    // SAFETY: two structures of ours.
    let returned = Returned::of(unsafe { libc::nanosleep(&raw const nap, &raw mut left) });
    returned.and((left.tv_sec, left.tv_nsec))
}

fn clock_nanosleep(flags: i32) -> Returned {
    let (clock, mut left) = (libc::CLOCK_MONOTONIC, UNTOUCHED);
    let nap = if flags == 0 { timespec(NAP) } else { in_a_while(clock) };
    // SAFETY: two structures of ours.
    let returned = unsafe { libc::clock_nanosleep(clock, flags, &raw const nap, &raw mut left) };
    Returned::error(returned).and((left.tv_sec, left.tv_nsec))
}

fn usleep() -> Returned {
    // SAFETY: takes a number.
    Returned::of(unsafe { libc::usleep(NAP.as_micros() as u32) })
}

fn poll(quiet: &Quiet) -> Returned {
    let mut wanted = quiet.wanted();
    // SAFETY: one structure of ours.
    let returned = Returned::of(unsafe { libc::poll(&raw mut wanted, 1, millis()) });
    returned.and(wanted.revents)
}

fn poll_of_nothing() -> Returned {
    // SAFETY: no descriptor is named, so no memory is touched.
    Returned::of(unsafe { libc::poll(std::ptr::null_mut(), 0, millis()) })
}

fn ppoll(quiet: &Quiet) -> Returned {
    let (mut wanted, nap) = (quiet.wanted(), timespec(NAP));
    // SAFETY: two structures of ours, and no set of signals.
    let returned = unsafe { libc::ppoll(&raw mut wanted, 1, &raw const nap, std::ptr::null()) };
    Returned::of(returned).and(wanted.revents)
}

fn select() -> Returned {
    let none = std::ptr::null_mut();
    let mut left = timeval(NAP);
    // SAFETY: no sets, and a structure of ours for the time.
    let returned = Returned::of(unsafe { libc::select(0, none, none, none, &raw mut left) });
    returned.and((left.tv_sec, left.tv_usec))
}

fn pselect() -> Returned {
    let none = std::ptr::null_mut();
    let nap = timespec(NAP);
    // SAFETY: no sets, and a structure of ours for the time.
    let returned = unsafe { libc::pselect(0, none, none, none, &raw const nap, std::ptr::null()) };
    Returned::of(returned).and((nap.tv_sec, nap.tv_nsec))
}

fn epoll(quiet: &Quiet) -> OwnedFd {
    // SAFETY: takes flags and returns a descriptor that is nobody else's.
    let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 1 };
    let fd = quiet.reader.as_raw_fd();
    // SAFETY: both descriptors are open, and the kernel reads one structure of ours.
    let added =
        unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
    assert_eq!(added, 0);
    epoll
}

fn epoll_wait(epoll: &OwnedFd, _quiet: &Quiet) -> Returned {
    let mut event = libc::epoll_event { events: 0, u64: 7 };
    // SAFETY: room for one event.
    let returned = unsafe { libc::epoll_wait(epoll.as_raw_fd(), &raw mut event, 1, millis()) };
    let returned = Returned::of(returned);
    let (events, data) = (event.events, event.u64);
    returned.and((events, data))
}

fn epoll_pwait(epoll: &OwnedFd, _quiet: &Quiet) -> Returned {
    let mut event = libc::epoll_event { events: 0, u64: 7 };
    let none = std::ptr::null();
    // SAFETY: room for one event, and no set of signals.
    let returned =
        unsafe { libc::epoll_pwait(epoll.as_raw_fd(), &raw mut event, 1, millis(), none) };
    let returned = Returned::of(returned);
    let (events, data) = (event.events, event.u64);
    returned.and((events, data))
}

fn sigtimedwait() -> Returned {
    let nap = timespec(NAP);
    // SAFETY: a set of ours, made empty before it is used: no signal is waited for.
    let returned = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigtimedwait(&raw const none, std::ptr::null_mut(), &raw const nap)
    };
    Returned::of(returned)
}

fn timerfd() -> Returned {
    let once = libc::itimerspec {
        it_interval: libc::timespec { tv_sec: 0, tv_nsec: 0 },
        it_value: timespec(NAP),
    };
    // SAFETY: takes numbers and returns a descriptor that is nobody else's.
    let timer = unsafe { OwnedFd::from_raw_fd(libc::timerfd_create(libc::CLOCK_MONOTONIC, 0)) };
    let fd = timer.as_raw_fd();
    // SAFETY: the kernel reads one structure of ours.
    let set = unsafe { libc::timerfd_settime(fd, 0, &raw const once, std::ptr::null_mut()) };
    assert_eq!(set, 0);
    let mut count = 0_u64;
    // SAFETY: room for eight bytes.
    let returned = Returned::of(unsafe { libc::read(fd, (&raw mut count).cast(), 8) });
    returned.and(count)
}
