//! The thread that takes stacks, and what it is asked and answers.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::image::CodeAddress;
use super::mode::Capture;
use super::take::Taker;
use crate::owned_thread::OwnedThread;
pub(crate) use crate::stall::StackOutcome;
use crate::sync::{AtomicBool, Ordering};

/// Questions that wait at most.
const QUEUE: usize = 32;
/// How long the answer to a signal is waited for.
pub(crate) const DEADLINE: Duration = Duration::from_millis(100);

/// The queue to the thread `stall-capture`.
///
/// The thread may get stuck: it waits for the loader's lock, which whoever loads a library holds,
/// and for pages of the stacks it reads. Nobody waits for it: questions do not fit any more then,
/// and who asked has a deadline of its own.
#[derive(Debug)]
pub(crate) struct Sampler {
    queue: SyncSender<StackRequest>,
    thread: OwnedThread,
    stop: Arc<AtomicBool>,
}

/// A question.
pub(crate) struct StackRequest {
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    /// Whether the thread is still in the poll that the question is about.
    pub(crate) still: Box<dyn Fn() -> bool + Send>,
    /// Called with the answer, on the capture thread.
    pub(crate) done: Box<dyn FnOnce(Captured) + Send>,
}

/// The answer.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) outcome: StackOutcome,
    /// What is wrong, in words; empty where nothing is.
    pub(crate) reason: &'static str,
    pub(crate) stack: Option<RawStack>,
}

/// A stack without names.
#[derive(Clone, Debug)]
pub(crate) struct RawStack {
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    pub(crate) way: Way,
    /// Whether outer frames are missing.
    pub(crate) partial: bool,
    /// The call it is in, and what that was given in memory, to come after its name.
    pub(crate) given: Option<(&'static str, String)>,
    /// Innermost first.
    pub(crate) frames: Vec<CodeAddress>,
}

/// How the thread was looked at.
#[cfg_attr(not(feature = "capture"), allow(dead_code, reason = "no stack is taken"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// From outside, while it waited.
    Quiet,
    /// By its own signal handler.
    Signal,
}

impl Captured {
    #[cfg_attr(not(feature = "capture"), allow(dead_code, reason = "no stack is taken"))]
    pub(crate) fn stack(stack: RawStack) -> Self {
        let (outcome, reason) = if stack.partial {
            (StackOutcome::Partial, "outer frames are missing")
        } else {
            (StackOutcome::Ok, "")
        };
        Self { outcome, reason, stack: Some(stack) }
    }

    pub(crate) fn without(outcome: StackOutcome, reason: &'static str) -> Self {
        Self { outcome, reason, stack: None }
    }

    pub(crate) fn failed(reason: &'static str) -> Self {
        Self::without(StackOutcome::Failed, reason)
    }
}

impl Sampler {
    /// Starts the thread; it ends when this is dropped or [`end`](Self::end)ed.
    pub(crate) fn spawn(mode: Capture) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = OwnedThread::spawn("stall-capture", move || run(&jobs, mode, &stopped))?;
        Ok(Self { queue, thread, stop })
    }

    /// Asks for a stack. Never waits.
    ///
    /// # Errors
    ///
    /// The question, where too many are asked already.
    pub(crate) fn ask(&self, job: StackRequest) -> Result<(), StackRequest> {
        self.queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    /// Ends the thread and waits for it. Questions that wait get no answer.
    ///
    /// # Errors
    ///
    /// The name of the thread, if it has not ended by then.
    pub(crate) fn end(self, limit: Duration) -> Result<(), &'static str> {
        let Self { queue, thread, stop } = self;
        stop.store(true, Ordering::Release);
        drop(queue);
        thread.join(limit)
    }
}

impl fmt::Debug for StackRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackRequest").field("thread", &self.thread).finish_non_exhaustive()
    }
}

fn run(jobs: &Receiver<StackRequest>, mode: Capture, stop: &AtomicBool) {
    let mut taker = Taker::new(mode);
    while let Ok(StackRequest { thread, still, done }) = jobs.recv() {
        if stop.load(Ordering::Acquire) {
            break;
        }
        // What is unwound is the memory of others: a parser that gives up on it ends this capture
        // and no other.
        let taken = catch_unwind(AssertUnwindSafe(|| taker.take(thread, &still, DEADLINE)));
        let captured = taken.unwrap_or_else(|_| {
            taker = Taker::new(mode);
            Captured::failed("the unwinder panicked")
        });
        drop(catch_unwind(AssertUnwindSafe(|| done(captured))));
    }
}
