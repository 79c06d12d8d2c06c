//! What the threads of a program do, as plain data.

#![cfg(test)]

use std::collections::BTreeMap;

use super::program::{FURTHER_THREADS, Op, Then};
use crate::clock::{LONGEST, Nanos};
use crate::labels::PollKind;
use crate::runtime::WorkerCounters;

/// A mark: the handler, its threshold, and what it marks.
#[derive(Debug)]
pub(super) struct MarkSpec {
    pub(super) handler: &'static str,
    pub(super) threshold: Nanos,
    pub(super) kind: PollKind,
}

const fn mark(handler: &'static str, threshold: Nanos, kind: PollKind) -> MarkSpec {
    MarkSpec { handler, threshold, kind }
}

pub(super) const MARKS: [MarkSpec; 7] = [
    mark("job", 20, PollKind::Task),
    mark("job", 50, PollKind::Task),
    mark("send", 20, PollKind::Task),
    mark("route", 50, PollKind::Request),
    mark("report", 100, PollKind::Task),
    mark("forever", LONGEST, PollKind::Task),
    mark("main", 50, PollKind::Root),
];

/// How long an allowed block may hold the last worker.
pub(super) const DEAD_AFTER: Nanos = 300;

/// When a program begins.
const BEGIN: Nanos = 1000;

/// What a thread is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    Mark(usize),
    Allowed,
}

#[derive(Debug, Default)]
pub(super) struct Thread {
    pub(super) frames: Vec<Frame>,
    /// The worker that it runs.
    pub(super) worker: Option<usize>,
    /// It runs none, but root futures.
    is_root: bool,
    /// It has run none yet.
    is_fresh: bool,
    /// It has taken its worker over from another thread.
    is_taker: bool,
    /// It has run another one before, and did not say yet that it now runs this one.
    is_astray: bool,
    /// Which worker it said it runs, and how often threads had said so by then.
    said: Option<(usize, u64)>,
    /// It says so at its next poll.
    is_asked: bool,
    /// The poll that it is in, and the part of it: before, in or after an allowed block.
    poll: usize,
    part: usize,
    /// How often what it is in has changed.
    changes: usize,
    /// Whether another part began or one ended since the last scan.
    has_stirred: bool,
    /// The part that was seen last.
    seen: usize,
}

/// A thread in a poll, at the time of a scan.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    pub(super) poll: usize,
    pub(super) part: usize,
    /// The outermost mark. `None` in an allowed block.
    pub(super) mark: Option<usize>,
    /// The innermost one, if it is another, and a number that tells it from others.
    pub(super) inner: Option<(usize, usize)>,
    /// The worker that the thread runs, and the one that it said it runs.
    pub(super) worker: Option<usize>,
    pub(super) said: Option<usize>,
    /// What that one has counted.
    pub(super) counters: WorkerCounters,
    /// Another thread has said since that it runs it.
    pub(super) is_elsewhere: bool,
}

pub(super) struct Threads {
    pub(super) now: Nanos,
    pub(super) threads: Vec<Thread>,
    pub(super) counters: Vec<WorkerCounters>,
    /// Which thread has said last that it runs a worker.
    owners: Vec<Option<(usize, u64)>>,
    answers: u64,
    last_part: usize,
    /// When each part of a poll ended.
    pub(super) ends: BTreeMap<usize, Nanos>,
    /// What each scan sees: the time, and each thread.
    pub(super) scans: Vec<(Nanos, Vec<Option<Sight>>)>,
}

impl Thread {
    /// Whether it is in a poll, and in an allowed block.
    fn state(&self) -> Option<bool> {
        (!self.frames.is_empty()).then(|| self.frames.contains(&Frame::Allowed))
    }

    fn is_idle(&self) -> bool {
        self.frames.is_empty() && self.worker.is_none() && !self.is_root
    }
}

impl Threads {
    pub(super) fn new(workers: usize) -> Self {
        let count = workers + FURTHER_THREADS;
        let thread = |at| Thread {
            worker: (at < workers).then_some(at),
            is_root: at + 1 == count,
            is_fresh: at >= workers,
            is_asked: true,
            ..Thread::default()
        };
        Self {
            now: BEGIN,
            threads: (0..count).map(thread).collect(),
            counters: vec![WorkerCounters { parks: 2, busy: 1 }; workers],
            owners: vec![None; workers],
            answers: 0,
            last_part: 0,
            ends: BTreeMap::new(),
            scans: Vec::new(),
        }
    }

    /// Does what is possible. Returns whether it was.
    pub(super) fn apply(&mut self, op: Op) -> bool {
        match op {
            Op::Pass(time) => self.now += time,
            Op::Scan => self.scan(),
            Op::Enter(thread, mark) => return self.enter(thread, Frame::Mark(mark)),
            Op::Allow(thread) => return self.enter(thread, Frame::Allowed),
            Op::Leave(thread) => {
                let kept = self.threads[thread].frames.len().saturating_sub(1);
                return self.leave(thread, kept);
            }
            Op::Panic(thread, kept) => return self.leave(thread, kept),
            Op::Yield(thread) => {
                let frames = self.threads[thread].frames.clone();
                let is_possible = self.leave(thread, 0);
                for frame in frames {
                    self.enter(thread, frame);
                }
                return is_possible;
            }
            Op::InPlace { thread, taker, then } => return self.give(thread, taker, then),
            Op::Park(thread) | Op::GoOn(thread) => {
                let Thread { worker: Some(worker), frames, .. } = &self.threads[thread] else {
                    return false;
                };
                match (frames.is_empty(), op) {
                    (false, _) => return false,
                    (true, Op::Park(_)) => self.counters[*worker].parks |= 1,
                    (true, _) => self.go_on(*worker),
                }
            }
        }
        true
    }

    fn enter(&mut self, at: usize, frame: Frame) -> bool {
        let Thread { frames, worker, is_root, .. } = &self.threads[at];
        if frames.is_empty() && !is_root {
            let Some(worker) = *worker else { return false };
            if self.counters[worker].is_parked() || self.threads[0].is_astray {
                self.go_on(worker);
            }
        }
        self.begin(at, frame);
        true
    }

    fn begin(&mut self, at: usize, frame: Frame) {
        if self.threads[at].frames.is_empty() {
            self.say(at);
        }
        self.change(at, |frames| frames.push(frame));
    }

    /// Leaves all frames beyond so many.
    fn leave(&mut self, at: usize, kept: usize) -> bool {
        let is_possible = self.threads[at].frames.len() > kept;
        while self.threads[at].frames.len() > kept {
            self.change(at, |frames| frames.truncate(frames.len() - 1));
        }
        let thread = &mut self.threads[at];
        thread.is_astray &= !thread.is_idle();
        is_possible
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&mut Vec<Frame>)) {
        let thread = &mut self.threads[at];
        let before = thread.state();
        change(&mut thread.frames);
        thread.changes += 1;
        let after = thread.state();
        if before == after {
            return;
        }
        thread.has_stirred = true;
        if before.is_some() {
            self.ends.insert(thread.part, self.now);
        }
        self.last_part += 1;
        thread.part = self.last_part;
        if before.is_none() {
            thread.poll = thread.part;
        }
    }

    /// A poll begins: the thread says which worker it runs, if it was asked.
    fn say(&mut self, at: usize) {
        let thread = &mut self.threads[at];
        if std::mem::take(&mut thread.is_asked) {
            self.answers += 1;
            thread.said = thread.worker.map(|worker| (worker, self.answers));
            thread.is_astray = false;
            if let Some(worker) = thread.worker {
                self.owners[worker] = Some((at, self.answers));
            }
        }
    }

    fn go_on(&mut self, worker: usize) {
        let counters = &mut self.counters[worker];
        counters.parks += counters.parks & 1;
        counters.busy += 1;
    }

    /// A poll gives its worker to another thread. Only the first thread, of those that had one before, takes
    /// another over: of two such threads the watchdog cannot tell which has which. It does so after the
    /// poll was seen, since a poll that never held its worker while it was watched looks as if it did.
    fn give(&mut self, from: usize, taker: usize, then: Then) -> bool {
        let (giver, taking) = (&self.threads[from], &self.threads[taker]);
        let may_take = match then {
            _ if taking.is_fresh => true,
            Then::Polls(_) => false,
            Then::Parks | Then::GoesOn => taker == 0 && giver.seen == giver.part,
        };
        let Some(worker) = giver.worker.filter(|_| !giver.frames.is_empty()) else { return false };
        if !taking.is_idle() || !may_take {
            return false;
        }
        self.threads[from].worker = None;
        let taking = &mut self.threads[taker];
        taking.worker = Some(worker);
        taking.is_taker = true;
        taking.is_astray = !std::mem::take(&mut taking.is_fresh);
        match then {
            Then::Parks => self.counters[worker].parks |= 1,
            Then::GoesOn => self.go_on(worker),
            Then::Polls(mark) => self.begin(taker, Frame::Mark(mark)),
        }
        true
    }

    fn scan(&mut self) {
        // Between polls a worker goes on, now and then without a sign of it. Here there is one wherever a
        // stack would have to tell whose worker stands still.
        let is_astray = self.threads[0].is_astray;
        for at in 0..self.threads.len() {
            let thread = &self.threads[at];
            if let Some(worker) = thread.worker
                && thread.frames.is_empty()
                && (thread.is_taker || is_astray)
                && !self.counters[worker].is_parked()
            {
                self.go_on(worker);
            }
        }
        let sights = (0..self.threads.len()).map(|at| self.sight(at)).collect();
        self.scans.push((self.now, sights));
        for thread in &mut self.threads {
            thread.is_asked |= std::mem::take(&mut thread.has_stirred);
            thread.seen = thread.part;
        }
    }

    fn sight(&self, at: usize) -> Option<Sight> {
        let thread = &self.threads[at];
        let is_allowed = thread.state()?;
        let mark = |frame: &Frame| match frame {
            Frame::Mark(mark) if !is_allowed => Some(*mark),
            _ => None,
        };
        let inner = thread.frames[1..].last().and_then(mark);
        let said = thread.said.map(|(worker, _)| worker);
        let is_elsewhere = thread.said.is_some_and(|(worker, said)| {
            self.owners[worker].is_some_and(|(owner, later)| owner != at && later > said)
        });
        Some(Sight {
            poll: thread.poll,
            part: thread.part,
            mark: mark(&thread.frames[0]),
            inner: inner.map(|mark| (thread.changes, mark)),
            worker: thread.worker,
            said,
            counters: said.map_or_else(WorkerCounters::default, |worker| self.counters[worker]),
            is_elsewhere,
        })
    }
}
