//! The thread that gives the frames of stacks their names, which takes its time when they are new.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Weak};

use super::{Message, guarded};
use crate::cause::hint;
use crate::stack::PollProof;
use crate::stack::{Captured, Symbols, mark_own, poll_returns_to, site};
use crate::stall::{LiveStall, StackResult};
use crate::sys::{Returns, returns_are_counted};

/// Stacks that wait for their names.
pub(super) const QUEUE: usize = 32;

/// A stack without names, and what it is for.
#[derive(Debug)]
pub(super) enum Unnamed {
    Stall(Arc<LiveStall>, Captured),
    PollProof(Arc<PollProof>, Captured),
}

/// Reads stacks, writes sites, and tells the reporter. Ends when the watchdog and the captures
/// that it asked for have.
#[derive(Debug)]
pub(crate) struct Names {
    queue: Receiver<Unnamed>,
    reporter: Weak<SyncSender<Message>>,
    symbols: Symbols,
    /// Crates that are not the user's own.
    skips: Vec<String>,
    /// What is left out of the names of files.
    directory: Option<PathBuf>,
    /// Whether it works to count returns, once that is known.
    counts: Option<bool>,
}

impl Names {
    pub(super) fn new(
        queue: Receiver<Unnamed>,
        reporter: Weak<SyncSender<Message>>,
        skips: Vec<String>,
    ) -> Self {
        let directory = std::env::current_dir().ok();
        Self { queue, reporter, symbols: Symbols::default(), skips, directory, counts: None }
    }

    pub(crate) fn run(mut self) {
        while let Ok(unnamed) = self.queue.recv() {
            match unnamed {
                Unnamed::Stall(stall, captured) => {
                    guarded(|| stall.set_stack_result(self.name(captured)));
                    if let Some(reporter) = self.reporter.upgrade() {
                        // Whoever waits for it has a deadline.
                        drop(reporter.try_send(Message::Named(stall)));
                    }
                }
                Unnamed::PollProof(proof, captured) => {
                    guarded(|| self.examine(&proof, captured));
                    proof.not_held();
                }
            }
        }
    }

    /// Is the thread in a poll, and in the same one from now on?
    fn examine(&mut self, proof: &PollProof, captured: Captured) {
        let taken = self.name(captured);
        let Some(stack) = &taken.stack else { return };
        if let Ok(returns_to) = poll_returns_to(stack, proof.single) {
            let counts = *self.counts.get_or_insert_with(returns_are_counted);
            let returns = counts.then(|| Returns::count(proof.thread, returns_to).ok());
            proof.held(taken, returns_to, returns.flatten());
        }
    }

    fn name(&mut self, captured: Captured) -> StackResult {
        let given = captured.stack.as_ref().and_then(|raw| raw.given.clone());
        let mut stack = captured.stack.map(|raw| self.symbols.symbolize(&raw));
        let skips: Vec<_> = self.skips.iter().map(String::as_str).collect();
        if let Some(stack) = &mut stack {
            mark_own(&mut stack.frames, &skips);
        }
        let frames = stack.as_ref().map_or(&[][..], |stack| &stack.frames);
        let (inner, mut site) = site(frames, &skips).unzip();
        if let (Some(site), Some(directory)) = (&mut site, &self.directory) {
            site.leave_out(directory);
        }
        let fix = hint(&frames[..inner.unwrap_or(frames.len())]);
        let missing = (!captured.reason.is_empty()).then_some(captured.reason);
        StackResult { site, fix, given, stack: stack.map(Arc::new), missing }
    }
}
