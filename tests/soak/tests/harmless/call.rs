//! A call that blocks for a while, and all that its caller sees of it.

use std::fmt::Debug;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

/// How long a call blocks: some times the shortest threshold there is.
pub(crate) const NAP: Duration = Duration::from_millis(5);
/// A limit that is never reached. With it a call is not restarted after a signal.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// What a call returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) value: i64,
    /// 0 where the value is none that says to look there.
    pub(crate) errno: i32,
    /// What the call wrote, and what it left alone.
    seen: String,
}

impl Returned {
    /// To be called right after the call.
    pub(crate) fn of(value: impl TryInto<i64, Error: Debug>) -> Self {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(0);
        let value = value.try_into().expect("no call returns more");
        let errno = if value == -1 { errno } else { 0 };
        Self { value, errno, seen: String::new() }
    }

    /// Of a call that returns its error instead of leaving it behind.
    pub(crate) fn error(errno: i32) -> Self {
        Self { value: if errno == 0 { 0 } else { -1 }, errno, seen: String::new() }
    }

    pub(crate) fn and(mut self, seen: impl Debug) -> Self {
        self.seen = format!("{seen:?}");
        self
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.errno == libc::EINTR
    }
}

/// Blocks once.
pub(crate) type Blocking = Box<dyn FnOnce() -> Returned + Send>;

/// A row of the table.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    /// Makes everything ready for the next time.
    pub(crate) prepare: Box<dyn FnMut() -> Blocking + Send>,
}

impl Call {
    pub(crate) fn new(
        name: &'static str,
        prepare: impl FnMut() -> Blocking + Send + 'static,
    ) -> Self {
        Self { name, prepare: Box::new(prepare) }
    }

    /// One that ends by itself.
    pub(crate) fn timed(
        name: &'static str,
        call: impl Fn() -> Returned + Clone + Send + 'static,
    ) -> Self {
        Self::new(name, move || Box::new(call.clone()))
    }

    /// One that ends because of what `release` does a while after it began.
    pub(crate) fn released(
        name: &'static str,
        call: impl Fn() -> Returned + Clone + Send + 'static,
        release: impl FnMut() + Send + 'static,
    ) -> Self {
        let later = Later::new(release);
        Self::new(name, move || {
            let (call, later) = (call.clone(), later.clone());
            Box::new(move || {
                later.begin();
                call()
            })
        })
    }
}

/// Does something a while after it was told to, on a thread of its own.
#[derive(Clone)]
pub(crate) struct Later(SyncSender<()>);

impl Later {
    pub(crate) fn new(mut run: impl FnMut() + Send + 'static) -> Self {
        let (begin, begun) = sync_channel(0);
        std::thread::spawn(move || {
            for () in begun {
                std::thread::sleep(NAP);
                run();
            }
        });
        Self(begin)
    }

    /// Once it has done what it was told before.
    pub(crate) fn begin(&self) {
        self.0.send(()).expect("its thread has not panicked");
    }
}

pub(crate) fn timespec(time: Duration) -> libc::timespec {
    libc::timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

pub(crate) fn timeval(time: Duration) -> libc::timeval {
    libc::timeval { tv_sec: time.as_secs() as i64, tv_usec: i64::from(time.subsec_micros()) }
}

/// The time of that clock in a while.
pub(crate) fn in_a_while(clock: libc::clockid_t) -> libc::timespec {
    let mut now = timespec(Duration::ZERO);
    // SAFETY: the kernel writes one timespec to where it may.
    let result = unsafe { libc::clock_gettime(clock, &raw mut now) };
    assert_eq!(result, 0);
    timespec(Duration::new(now.tv_sec as u64, now.tv_nsec as u32) + NAP)
}
