//! Stalls whose stack is on its way, and names for the stacks that come.

use std::sync::Arc;

use crate::capture::{Captured, Symbols, site};
use crate::clock::{self, Nanos};
use crate::detector::ring::{Entry, Taken};

/// How long the first line of a stall waits for its stack.
const WAIT: Nanos = 250_000_000;

#[derive(Debug)]
pub(super) struct Stacks {
    waiting: Vec<(Nanos, Arc<Entry>)>,
    symbols: Symbols,
    skips: Vec<String>,
}

impl Stacks {
    /// `skips` are crates that are not the user's own.
    pub(super) fn new(skips: Vec<String>) -> Self {
        Self { waiting: Vec::new(), symbols: Symbols::default(), skips }
    }

    pub(super) fn wait_for(&mut self, stall: Arc<Entry>) {
        self.waiting.push((clock::now() + WAIT, stall));
    }

    /// When the next of them has been waited for long enough.
    pub(super) fn due(&self) -> Option<Nanos> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }

    /// Waits for it no longer; whether it was waited for.
    pub(super) fn give_up(&mut self, stall: &Entry) -> bool {
        let before = self.waiting.len();
        self.waiting.retain(|(_, waiting)| waiting.id() != stall.id());
        self.waiting.len() < before
    }

    /// Those that have been waited for long enough.
    pub(super) fn overdue(&mut self, now: Nanos) -> Vec<Arc<Entry>> {
        let (late, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(due, _)| *due <= now);
        self.waiting = waiting;
        let late: Vec<_> = late;
        late.into_iter().map(|(_, stall)| stall).collect()
    }

    /// Gives the frames their names, which takes its time when they are new.
    pub(super) fn name(&mut self, stall: &Entry, captured: Captured) {
        let stack = captured.stack.map(|raw| self.symbols.symbolize(&raw));
        let skips: Vec<_> = self.skips.iter().map(String::as_str).collect();
        let site = stack.as_ref().and_then(|stack| site(&stack.frames, &skips));
        let missing = (!captured.reason.is_empty()).then_some(captured.reason);
        stall.set_taken(Taken { site, stack: stack.map(Arc::new), missing });
    }
}
