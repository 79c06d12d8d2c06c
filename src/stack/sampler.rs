//! The thread that takes stacks, and its queue.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use super::inbox::{Inbox, LookRequest, Request, StackRequest};
use super::limits::{Account, CpuTime};
use super::mode::Capture;
use super::native::Taker;
use super::raw::{Captured, Interrupted};
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
    queue: SyncSender<Request>,
    thread: OwnedThread,
    stop: Arc<AtomicBool>,
    cpu_time: Account,
    vitals: Arc<Vitals>,
}

impl Sampler {
    /// Starts the thread; it ends when this is dropped or [`end`](Self::end)ed.
    pub(crate) fn spawn(mode: Capture, vitals: Arc<Vitals>) -> io::Result<Self> {
        let (queue, jobs) = sync_channel(QUEUE);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let cpu_time = Account::default();
        let charge = Arc::clone(&cpu_time);
        let of_thread = Arc::clone(&vitals);
        let run = move || run(Inbox::new(&jobs, &stopped), mode, &charge, &of_thread);
        let thread = OwnedThread::spawn(THREAD.as_str(), run)?;
        Ok(Self { queue, thread, stop, cpu_time, vitals })
    }

    /// The CPU time that stacks have cost. Whoever works on them adds to it.
    pub(super) fn cpu_time(&self) -> Account {
        Arc::clone(&self.cpu_time)
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
        match self.queue.try_send(Request::Stack(job)) {
            Err(
                TrySendError::Full(Request::Stack(job))
                | TrySendError::Disconnected(Request::Stack(job)),
            ) => Err(job),
            _ => Ok(()),
        }
    }

    /// Asks who has what a thread waits for. Never waits. If too many wait already the request is dropped.
    pub(crate) fn look(&self, look: LookRequest) {
        drop(self.queue.try_send(Request::Look(look)));
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

fn run(mut inbox: Inbox<'_>, mode: Capture, cpu_time: &CpuTime, vitals: &Vitals) {
    let life = vitals.begin(THREAD);
    let mut taker = Taker::new(mode);
    while let Some(request) = inbox.next() {
        match request {
            Request::Stack(StackRequest { thread, still, done }) => {
                // The parsers read memory that may hold anything: a panic ends this capture and no other.
                let take = || vitals.work(THREAD, || taker.take(thread, &still, DEADLINE));
                let captured = cpu_time.charged(take).unwrap_or_else(|| {
                    taker = Taker::new(mode);
                    Captured::failed("the unwinder panicked")
                });
                vitals.work(THREAD, || done(captured));
            }
            Request::Look(look) if !cpu_time.admits_look() || !(look.still)() => drop(look),
            Request::Look(look) => {
                let mut goes_on = || inbox.is_idle();
                let find = || taker.holding(look.thread, &look.still, &mut goes_on);
                match cpu_time.charged(|| vitals.work(THREAD, find)) {
                    Some(Ok(Some(holding))) => {
                        vitals.work(THREAD, || (look.tell)(holding));
                    }
                    Some(Ok(None)) => {}
                    Some(Err(Interrupted)) => inbox.put_back(look),
                    None => taker = Taker::new(mode),
                }
            }
        }
        if vitals.is_spent(THREAD) {
            return;
        }
    }
    life.end();
}
