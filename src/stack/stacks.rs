//! The way of a stack: admitted here, taken by the sampler, named by the symbolizer, told to who
//! asked.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::holder_news::HolderNews;
use super::inbox::{LookRequest, StackRequest, Still};
use super::limits::Budget;
use super::poll_returns::PollReturns;
use super::proof::PollProof;
use super::raw::{Captured, RawHolding};
use super::sampler::Sampler;
use super::symbolizer::{StackSettings, Symbolizer, Unnamed};
use crate::clock::{self, Nanos};
use crate::stall::{StackNews, StackOutcome, StackResult};
use crate::sync::{AtomicBool, Ordering};
use crate::vitals::OwnThread;

/// The watchdog's end: never waits. When it is dropped the symbolizer ends.
#[derive(Debug)]
pub(crate) struct Stacks {
    sampler: Arc<Sampler>,
    /// What is under way keeps no thread alive: it has weak references.
    unnamed: Arc<SyncSender<Unnamed>>,
    budget: Budget,
    /// Whether the holders of locks are looked for.
    holders: bool,
    returns: Arc<PollReturns>,
    /// Tells the symbolizer to hurry.
    stops: Arc<AtomicBool>,
}

impl Drop for Stacks {
    fn drop(&mut self) {
        self.stops.store(true, Ordering::Release);
    }
}

/// A stack that is wanted of a stall.
pub(crate) struct WantedStack {
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    /// Whether the thread is still in the poll that the stall is about.
    pub(crate) still: Still,
    /// Called with what becomes of it, on the threads that it happens on.
    pub(crate) news: Box<dyn FnMut(StackNews) + Send>,
}

/// By the number of a thread, and whether that moves.
pub(crate) type HandlerOf = Box<dyn Fn(u32, bool) -> Option<&'static str> + Send>;

/// Who has what a thread waits for is to be found out.
pub(crate) struct WantedHolder {
    /// The kernel's number of the thread.
    pub(crate) thread: u32,
    /// Whether the thread is still in the poll that the stall is about.
    pub(crate) still: Still,
    /// What a thread polls, by its number. Where that thread moves: what it has polled since this was made.
    pub(crate) handler_of: HandlerOf,
    pub(crate) news: HolderNews,
}

impl Stacks {
    /// The symbolizer needs a thread of its own.
    pub(crate) fn new(sampler: Arc<Sampler>, settings: StackSettings) -> (Self, Symbolizer) {
        let stops = Arc::new(AtomicBool::new(false));
        let budget = Budget::new(sampler.cpu_time(), settings.cpu_percent);
        let holders = settings.lock_holders;
        let returns = Arc::new(PollReturns::default());
        let of_threads = (sampler.cpu_time(), sampler.vitals());
        let (unnamed, symbolizer) =
            Symbolizer::new(settings, Arc::clone(&stops), of_threads, Arc::clone(&returns));
        let unnamed = Arc::new(unnamed);
        (Self { sampler, unnamed, budget, holders, returns, stops }, symbolizer)
    }

    /// Whether there is CPU time for another stack.
    pub(crate) fn admits(&mut self, now: Nanos) -> bool {
        self.budget.admits(now)
    }

    /// Whether the holders of locks are looked for.
    pub(crate) fn finds_holders(&self) -> bool {
        self.holders
    }

    /// Takes a stack that was admitted.
    pub(crate) fn take(&self, wanted: WantedStack) {
        let WantedStack { thread, still, mut news } = wanted;
        let (unnamed, vitals) = (Arc::downgrade(&self.unnamed), self.sampler.vitals());
        self.ask(thread, still, move |captured| {
            let Some(unnamed) = unnamed.upgrade() else { return };
            news(StackNews::Sampled(captured.outcome));
            if let Err(refused) = unnamed.try_send(Unnamed::Stall(captured, news))
                && let Unnamed::Stall(_, mut news) = inner(refused)
            {
                let why = match vitals.is_spent(OwnThread::Symbols) {
                    true => "the thread stall-symbols is lost",
                    false => "too many stacks wait for their names",
                };
                news(StackNews::Named(StackResult { may_come: true, ..StackResult::missing(why) }));
            }
        });
    }

    /// Finds out who has what a thread waits for, once no stack is wanted. Where there is no CPU time for
    /// it, that is not known.
    pub(crate) fn find_holder(&mut self, wanted: WantedHolder) {
        let WantedHolder { thread, still, handler_of, news } = wanted;
        if !self.admits(clock::now()) {
            return;
        }
        let unnamed = Arc::downgrade(&self.unnamed);
        let tell = move |mut holding: RawHolding| {
            for holder in &mut holding.threads {
                holder.handler = handler_of(holder.stack.thread, holder.waits_in.is_none());
            }
            if let Some(unnamed) = unnamed.upgrade() {
                drop(unnamed.try_send(Unnamed::Holding(holding, news)));
            }
        };
        self.sampler.look(LookRequest::new(thread, still, Box::new(tell)));
    }

    /// Takes the stack that a proof wants, and answers the proof.
    pub(crate) fn prove(
        &self,
        proof: Arc<PollProof>,
        sampled: impl FnOnce(StackOutcome) + Send + 'static,
    ) {
        let unnamed = Arc::downgrade(&self.unnamed);
        let (returns, cpu_time) = (Arc::clone(&self.returns), self.sampler.cpu_time());
        self.ask(proof.thread, Box::new(|| true), move |captured| {
            let Some(unnamed) = unnamed.upgrade() else { return };
            sampled(captured.outcome);
            let Some(stack) = &captured.stack else { return proof.not_shown() };
            // The parser reads a file of any origin. Where it panics, returns are counted later.
            let guess = AssertUnwindSafe(|| {
                let address = returns.guess(stack, proof.single)?;
                Some((address, returns.count(proof.thread, address)?))
            });
            let count = || cpu_time.charged(|| catch_unwind(guess)).unwrap_or(None);
            let count = proof.counts.then(count).flatten();
            proof.sampled(clock::now(), count);
            if unnamed.try_send(Unnamed::PollProof(captured, Arc::clone(&proof))).is_err() {
                proof.not_shown();
            }
        });
    }

    fn ask(&self, thread: u32, still: Still, done: impl FnOnce(Captured) + Send + 'static) {
        let request = StackRequest { thread, still, done: Box::new(done) };
        if let Err(refused) = self.sampler.ask(request) {
            (refused.done)(if self.sampler.vitals().is_spent(OwnThread::Capture) {
                Captured::failed("the thread stall-capture is lost")
            } else {
                Captured::without(StackOutcome::Limited, "limited: too many wait to be taken")
            });
        }
    }
}

fn inner<T>(refused: std::sync::mpsc::TrySendError<T>) -> T {
    let (std::sync::mpsc::TrySendError::Full(inner)
    | std::sync::mpsc::TrySendError::Disconnected(inner)) = refused;
    inner
}

impl fmt::Debug for WantedStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WantedStack").field("thread", &self.thread).finish_non_exhaustive()
    }
}
