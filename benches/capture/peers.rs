//! What others do: take the backtrace in a signal handler, on the thread that is looked at.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use backtrace::{Backtrace, BacktraceFrame};

/// Frames that fit, as in glommio.
const QUEUE: usize = 1 << 10;

static FRAMES: OnceLock<SyncSender<BacktraceFrame>> = OnceLock::new();
static BACKTRACES: OnceLock<SyncSender<Backtrace>> = OnceLock::new();
static DONE: AtomicUsize = AtomicUsize::new(0);

/// As glommio's stall detector: the handler walks the stack and sends each frame to a bounded
/// queue. (Its own is of crossbeam, as the one of std is inside; and the signal comes to it by
/// way of signal-hook.)
extern "C" fn send_frames(_: libc::c_int) {
    let Some(frames) = FRAMES.get() else { return };
    // SAFETY: no other thread of this bench walks its stack at this time.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            frames.try_send(BacktraceFrame::from(frame.clone())).is_ok()
        });
    }
    DONE.fetch_add(1, Ordering::Release);
}

/// The plain way: a backtrace without names, which allocates.
extern "C" fn send_backtrace(_: libc::c_int) {
    let Some(backtraces) = BACKTRACES.get() else { return };
    drop(backtraces.try_send(Backtrace::new_unresolved()));
    DONE.fetch_add(1, Ordering::Release);
}

/// Both handlers, installed.
pub(super) struct Peers {
    frames: Receiver<BacktraceFrame>,
    backtraces: Receiver<Backtrace>,
}

impl Peers {
    pub(super) fn install() -> Self {
        let (sender, frames) = sync_channel(QUEUE);
        FRAMES.set(sender).expect("installed once");
        let (sender, backtraces) = sync_channel(1);
        BACKTRACES.set(sender).expect("installed once");
        for (signal, handler) in [
            (libc::SIGUSR1, send_frames as extern "C" fn(libc::c_int)),
            (libc::SIGUSR2, send_backtrace),
        ] {
            // SAFETY: zeros are a valid `sigaction`; the handler has the signature of one.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                action.sa_sigaction = handler as *const () as usize;
                action.sa_flags = libc::SA_RESTART;
                assert_eq!(libc::sigaction(signal, &raw const action, std::ptr::null_mut()), 0);
            }
        }
        Self { frames, backtraces }
    }

    /// Has the thread send its frames, and counts them.
    pub(super) fn frames(&self, thread: u32) -> usize {
        send(thread, libc::SIGUSR1);
        self.frames.try_iter().count()
    }

    /// Has the thread send its backtrace, and counts its frames.
    pub(super) fn backtrace(&self, thread: u32) -> usize {
        send(thread, libc::SIGUSR2);
        self.backtraces.try_recv().map_or(0, |backtrace| backtrace.frames().len())
    }
}

/// Sends the signal and waits until the handler is done.
fn send(thread: u32, signal: libc::c_int) {
    let before = DONE.load(Ordering::Acquire);
    let process = libc::c_long::from(std::process::id());
    // SAFETY: the signal has a handler, and takes numbers.
    let sent = unsafe {
        libc::syscall(
            libc::SYS_tgkill,
            process,
            libc::c_long::from(thread),
            libc::c_long::from(signal),
        )
    };
    assert_eq!(sent, 0);
    while DONE.load(Ordering::Acquire) == before {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
}
