//! The thread that gives the frames of stacks their names, which takes its time when they are new,
//! finds the site, and reads from a named stack whether a thread is in a poll.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::native::Symbols;
use super::poll_frame::poll_returns_to;
use super::proof::{PollProof, ReturnCount};
use super::raw::Captured;
use super::user_frame::{mark_own, site};
use crate::clock;
use crate::stall::{Frame, StackResult};
use crate::sync::AtomicBool;
use crate::sys::{Returns, returns_are_counted};

/// Stacks that wait for their names.
const QUEUE: usize = 32;

/// A better fix than the cause's own, by the frames inside of the site.
type Hint = fn(&[Frame]) -> Option<&'static str>;

/// A stack without names, and who waits for it.
pub(super) enum Unnamed {
    /// Called with the stack on this thread.
    Stall(Captured, Box<dyn FnOnce(StackResult) + Send>),
    PollProof(Captured, Arc<PollProof>),
}

/// Names stacks until all senders of its queue are gone: those of the watchdog, and of stacks that
/// are being taken for it.
#[derive(Debug)]
pub(crate) struct Symbolizer {
    queue: Receiver<Unnamed>,
    symbols: Symbols,
    hint: Hint,
    /// Crates that are not the user's own.
    others: Vec<String>,
    /// What is left out of the names of files.
    directory: Option<PathBuf>,
    /// Whether breakpoints work, once that is known.
    counts: Option<bool>,
}

impl Symbolizer {
    /// `stops` is set when the detector stops: what waits then is named without rests.
    pub(super) fn new(
        others: Vec<String>,
        hint: Hint,
        stops: Arc<AtomicBool>,
    ) -> (SyncSender<Unnamed>, Self) {
        let (sender, queue) = sync_channel(QUEUE);
        let directory = std::env::current_dir().ok();
        let symbols = Symbols::new(stops);
        (sender, Self { queue, symbols, hint, others, directory, counts: None })
    }

    /// What is read here is debug information of any origin, by parsers of others: one that panics
    /// ends the work on this stack and no other.
    pub(crate) fn run(mut self) {
        while let Ok(unnamed) = self.queue.recv() {
            match unnamed {
                Unnamed::Stall(captured, named) => {
                    let result = catch_unwind(AssertUnwindSafe(|| self.name(captured)));
                    let missing = "the reader of debug information panicked";
                    let result = result.unwrap_or_else(|_| StackResult::missing(missing));
                    drop(catch_unwind(AssertUnwindSafe(|| named(result))));
                }
                Unnamed::PollProof(captured, proof) => {
                    drop(catch_unwind(AssertUnwindSafe(|| self.prove(captured, &proof))));
                    // Unless it was proven.
                    proof.not_held();
                }
            }
        }
    }

    /// Is the thread in a poll, and in the same one from now on?
    fn prove(&mut self, captured: Captured, proof: &PollProof) {
        let result = self.name(captured);
        let Some(stack) = &result.stack else { return };
        if let Ok(returns_to) = poll_returns_to(stack, proof.single) {
            let counts = *self.counts.get_or_insert_with(returns_are_counted);
            let returns = counts.then(|| Returns::count(proof.thread, returns_to).ok()).flatten();
            let returns = returns.map(|returns| ReturnCount::new(move || returns.so_far()));
            proof.held(clock::now(), result, returns_to, returns);
        }
    }

    fn name(&mut self, captured: Captured) -> StackResult {
        let given = captured.stack.as_ref().and_then(|raw| raw.given.clone());
        let mut stack = captured.stack.map(|raw| self.symbols.symbolize(&raw, |_| {}).0);
        let others: Vec<_> = self.others.iter().map(String::as_str).collect();
        if let Some(stack) = &mut stack {
            mark_own(&mut stack.frames, &others);
        }
        let frames = stack.as_ref().map_or(&[][..], |stack| &stack.frames);
        let (inner, mut site) = site(frames, &others).unzip();
        if let (Some(site), Some(directory)) = (&mut site, &self.directory) {
            site.leave_out(directory);
        }
        let fix = (self.hint)(&frames[..inner.unwrap_or(frames.len())]);
        let missing = (!captured.reason.is_empty()).then_some(captured.reason);
        StackResult { site, fix, given, stack: stack.map(Arc::new), missing }
    }
}

impl std::fmt::Debug for Unnamed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unnamed").finish_non_exhaustive()
    }
}
