//! What a stalled thread waits for, in words.

use super::classify::{Classification, Evidence, classify};
use crate::clock::{Nanos, human_nanos};
use crate::procfs::fd::Object;
use crate::procfs::thread::{ThreadSample, ThreadState};
use crate::stall::{Cause, Situation};
use crate::sys::{peer, system_call};

/// What was found when a stall was counted. The details are asked for later, by a thread that may
/// block.
#[derive(Clone, Debug)]
pub(crate) struct CauseReport {
    thread: u32,
    now: ThreadState,
    object: Option<Object>,
    lasted: Nanos,
    pub(crate) classification: Classification,
}

impl CauseReport {
    pub(crate) fn new(thread: u32, mut evidence: Evidence) -> Self {
        if evidence.telling().awaits_output(thread) {
            evidence.object = Some(Object::ChildOutput);
        }
        let classification = classify(&evidence);
        let now = evidence.telling().now.clone();
        Self { thread, now, object: evidence.object, lasted: evidence.lasted, classification }
    }

    /// What the thread was seen doing.
    pub(crate) fn state(&self) -> &ThreadState {
        &self.now
    }

    /// What a fix depends on.
    pub(crate) fn situation(&self) -> Situation {
        match (&self.now, &self.object, self.classification.cause) {
            (ThreadState::Call { number, arguments, .. }, Some(Object::Pipe), Cause::FileIo) => {
                match direction(system_call(*number, arguments).0) {
                    "to" => Situation::WritesPipe,
                    _ => Situation::ReadsPipe,
                }
            }
            (.., cause) => Situation::Of(cause),
        }
    }

    /// What the thread waits for, and the environment's share, if there is one: the last part, behind
    /// a semicolon. Asks the kernel and may block, so the watchdog must not call it.
    pub(crate) fn detail(&self) -> Option<String> {
        let parts: Vec<_> = self.waits_for().into_iter().chain(self.environment()).collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    fn waits_for(&self) -> Option<String> {
        let (number, arguments) = match &self.now {
            ThreadState::Call { number, arguments, .. } => (number, arguments),
            ThreadState::Hidden(function) => return Some(function.clone()),
            _ => return None,
        };
        let (name, _) = system_call(*number, arguments);
        Some(match &self.object {
            None => name.to_owned(),
            Some(Object::File(what) | Object::Anonymous(what)) => format!("{name} of {what}"),
            Some(Object::Pipe) => format!("{name} of a pipe"),
            Some(Object::ChildOutput) => format!("{name} of the outputs of a child"),
            Some(Object::Socket) => match self.peer(arguments[0]) {
                Some(peer) => format!("{name} {} {peer}", direction(name)),
                None => name.to_owned(),
            },
        })
    }

    /// The peer of a socket, if the thread is still in the same system call: otherwise the descriptor
    /// may be another one.
    fn peer(&self, descriptor: u64) -> Option<String> {
        let peer = peer(descriptor)?;
        (ThreadSample::take(self.thread).now == self.now).then_some(peer)
    }

    fn environment(&self) -> Option<String> {
        // A smaller share is noise.
        if self.classification.excused < self.lasted / 20 {
            return None;
        }
        let (excused, lasted) =
            (human_nanos(self.classification.excused), human_nanos(self.lasted));
        Some(format!("{} for {excused} of {lasted}", self.classification.excuse.lost()))
    }
}

fn direction(call: &str) -> &'static str {
    let to = ["send", "write", "pwrite", "connect"].iter().any(|begin| call.starts_with(begin));
    if to { "to" } else { "from" }
}
