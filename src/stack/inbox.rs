//! What the thread `stall-capture` is to do next: stacks first.
//!
//! A stack shows where a thread is now, so it is taken at once. Who has what a thread waits for stays the
//! same for as long as it waits, and takes longer to find out: such looks wait until no stack is wanted.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, TryRecvError};

use super::raw::{Captured, RawHolding};
use crate::sync::{AtomicBool, Ordering};

/// The most looks that wait. Those that find no place are dropped.
const MOST_LOOKS: usize = 8;
/// How many times a look begins.
const MOST_TRIES: u32 = 3;

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
}

/// A request to find out who has what a thread waits for.
pub(crate) struct LookRequest {
    /// The thread id.
    pub(crate) thread: u32,
    /// Whether the thread is still in the poll that the request is about.
    pub(crate) still: Still,
    /// Called with the answer, on the thread `stall-capture`; dropped if there is none.
    pub(crate) tell: TellHolding,
    /// How many times a stack was wanted meanwhile.
    interrupted: u32,
}

impl LookRequest {
    pub(crate) fn new(thread: u32, still: Still, tell: TellHolding) -> Self {
        Self { thread, still, tell, interrupted: 0 }
    }
}

/// What the thread is asked to do.
pub(super) enum Request {
    Stack(StackRequest),
    Look(LookRequest),
}

/// The thread's end of the queue.
pub(super) struct Inbox<'a> {
    queue: &'a Receiver<Request>,
    stop: &'a AtomicBool,
    /// A stack that was asked for during a look.
    stack: Option<StackRequest>,
    looks: VecDeque<LookRequest>,
}

impl<'a> Inbox<'a> {
    pub(super) fn new(queue: &'a Receiver<Request>, stop: &'a AtomicBool) -> Self {
        Self { queue, stop, stack: None, looks: VecDeque::new() }
    }

    /// Waits for something to do. `None` if the thread is to end.
    pub(super) fn next(&mut self) -> Option<Request> {
        loop {
            let next = match self.stack.take() {
                Some(stack) => Ok(Request::Stack(stack)),
                None if self.looks.is_empty() => {
                    self.queue.recv().map_err(|_| TryRecvError::Disconnected)
                }
                None => self.queue.try_recv(),
            };
            if self.stop.load(Ordering::Acquire) {
                return None;
            }
            match next {
                Ok(Request::Look(look)) => self.put(look),
                Ok(stack) => return Some(stack),
                Err(TryRecvError::Empty) => return self.looks.pop_front().map(Request::Look),
                Err(TryRecvError::Disconnected) => return None,
            }
        }
    }

    /// Whether nothing is wanted but looks: to be asked during one.
    pub(super) fn is_idle(&mut self) -> bool {
        while self.stack.is_none() && !self.stop.load(Ordering::Acquire) {
            match self.queue.try_recv() {
                Ok(Request::Look(look)) => self.put(look),
                Ok(Request::Stack(stack)) => self.stack = Some(stack),
                Err(error) => return error == TryRecvError::Empty,
            }
        }
        false
    }

    /// Puts a look back that was ended for a stack, to be tried again.
    pub(super) fn put_back(&mut self, mut look: LookRequest) {
        look.interrupted += 1;
        if look.interrupted < MOST_TRIES {
            self.put(look);
        }
    }

    fn put(&mut self, look: LookRequest) {
        if self.looks.len() >= MOST_LOOKS {
            self.looks.retain(|look| (look.still)());
        }
        if self.looks.len() < MOST_LOOKS {
            self.looks.push_back(look);
        }
    }
}
