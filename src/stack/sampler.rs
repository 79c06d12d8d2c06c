//! The thread that takes stacks, and its queue.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::limits::{Spent, charged};
use super::mode::Capture;
use super::native::Taker;
use super::raw::{Captured, RawHolding};
use crate::owned_thread::OwnedThread;
use crate::sync::{AtomicBool, Ordering};
use crate::vitals::{OwnThread, Vitals};

const THREAD: OwnThread = OwnThread::Capture;
/// The most requests that wait.
const QUEUE: usize = 32;
/// How long to wait for the answer to a signal.
pub(crate) const DEADLINE: Duration = Duration::from_millis(100);

/// The queue to the thread `stall-capture`.
///
/// The thread may block: on the loader's lock, which is held while a library is loaded, and on pages
/// of the stacks it reads. Nobody waits for it: further requests are refused once the queue is full,
/// and the callers have deadlines of their own.
#[derive(Debug)]
pub(crate) struct Sampler {
    queue: SyncSender<StackRequest>,
    thread: OwnedThread,
    stop: Arc<AtomicBool>,
    /// CPU time that stacks have cost.
    spent: Spent,
    vitals: Arc<Vitals>,
}

/// Whether a thread is still in the poll that a request is about.
pub(crate) type Still = Box<dyn Fn() -> bool + Send>;
/// Takes who has what a thread waits for.
pub(crate) type TellHolding = Box<dyn FnOnce(RawHolding) + Send>;

/// A request for the stack of a thread.
pub(crate) struct StackRequest {
    /// The thread id.
    pub(crate) thread: u32,
    /// Whether the thread is still in the poll that the request is about.
    pub(crate) still: Still,
    /// Called with the answer, on the thread `stall-capture`.
    pub(crate) done: Box<dyn FnOnce(Captured) + Send>,
    /// Called after that with who has what the thread waits for, if somebody wants to know.
    pub(crate) holding: Option<TellHolding>,
}

impl Sampler {
    /// Starts the thread; it ends when this is dropped or [`end`](Self::end)ed.
    pub(crate) fn spawn(mode: Capture, vitals: Arc<Vitals>) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let spent = Spent::default();
        let charge = Arc::clone(&spent);
        let of_thread = Arc::clone(&vitals);
        let run = move || run(&jobs, mode, &stopped, &charge, &of_thread);
        let thread = OwnedThread::spawn(THREAD.as_str(), run)?;
        Ok(Self { queue, thread, stop, spent, vitals })
    }

    /// The CPU time that stacks have cost. Whoever works on them adds to it.
    pub(super) fn spent(&self) -> Spent {
        Arc::clone(&self.spent)
    }

    /// How the threads that work on stacks do.
    pub(super) fn vitals(&self) -> Arc<Vitals> {
        Arc::clone(&self.vitals)
    }

    /// Asks for a stack. Never waits.
    ///
    /// # Errors
    ///
    /// The request, if too many wait already or the thread is lost.
    pub(crate) fn ask(&self, job: StackRequest) -> Result<(), StackRequest> {
        self.queue.try_send(job).map_err(|refused| match refused {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }

    /// Ends the thread and waits for it. Requests that wait get no answer.
    ///
    /// # Errors
    ///
    /// The name of the thread, if it has not ended within `limit`.
    pub(crate) fn end(self, limit: Duration) -> Result<(), &'static str> {
        let Self { queue, thread, stop, .. } = self;
        stop.store(true, Ordering::Release);
        drop(queue);
        thread.join(limit)
    }
}

fn run(
    jobs: &Receiver<StackRequest>,
    mode: Capture,
    stop: &AtomicBool,
    spent: &Spent,
    vitals: &Vitals,
) {
    let life = vitals.begin(THREAD);
    let mut taker = Taker::new(mode);
    while let Ok(StackRequest { thread, still, done, holding }) = jobs.recv() {
        if stop.load(Ordering::Acquire) {
            break;
        }
        // The parsers read memory that may hold anything: a panic ends this capture and no other.
        let taken = charged(spent, || vitals.work(THREAD, || taker.take(thread, &still, DEADLINE)));
        let captured = taken.unwrap_or_else(|| {
            taker = Taker::new(mode);
            Captured::failed("the unwinder panicked")
        });
        vitals.work(THREAD, || done(captured));
        if let Some(tell) = holding {
            let look = || vitals.work(THREAD, || taker.holding(thread, &still));
            match charged(spent, look) {
                Some(Some(holding)) => {
                    vitals.work(THREAD, || tell(holding));
                }
                Some(None) => {}
                None => taker = Taker::new(mode),
            }
        }
        if vitals.is_spent(THREAD) {
            return;
        }
    }
    life.end();
}
