//! The thread that gives the frames of stacks their names, which takes its time when they are new.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Weak};

use super::{Message, guarded};
use crate::capture::{Captured, Symbols, site};
use crate::detector::ring::{Entry, Taken};

/// Stacks that wait for their names.
pub(super) const QUEUE: usize = 32;

#[derive(Debug)]
pub(super) struct Unnamed {
    pub(super) stall: Arc<Entry>,
    pub(super) captured: Captured,
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
}

impl Names {
    pub(super) fn new(
        queue: Receiver<Unnamed>,
        reporter: Weak<SyncSender<Message>>,
        skips: Vec<String>,
    ) -> Self {
        let directory = std::env::current_dir().ok();
        Self { queue, reporter, symbols: Symbols::default(), skips, directory }
    }

    pub(crate) fn run(mut self) {
        while let Ok(Unnamed { stall, captured }) = self.queue.recv() {
            guarded(|| stall.set_taken(self.name(captured)));
            if let Some(reporter) = self.reporter.upgrade() {
                // Whoever waits for it has a deadline.
                drop(reporter.try_send(Message::Named(stall)));
            }
        }
    }

    fn name(&mut self, captured: Captured) -> Taken {
        let stack = captured.stack.map(|raw| self.symbols.symbolize(&raw));
        let skips: Vec<_> = self.skips.iter().map(String::as_str).collect();
        let mut site = stack.as_ref().and_then(|stack| site(&stack.frames, &skips));
        if let (Some(site), Some(directory)) = (&mut site, &self.directory) {
            site.leave_out(directory);
        }
        let missing = (!captured.reason.is_empty()).then_some(captured.reason);
        Taken { site, stack: stack.map(Arc::new), missing }
    }
}
