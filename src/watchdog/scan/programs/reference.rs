//! What has to be found: worked out from what the threads did at the time of each scan.
//!
//! - The time of a mark counts from the first scan that sees it. That of a nested one counts anew where a
//!   further one in it has begun or ended.
//! - A mark is a stall at the first scan at which it has lasted for its own threshold; of two, the inner
//!   one. The outer one waits for an inner one that has lasted for half of its threshold, if that is not
//!   the longer one. While one is a stall, no other of the thread is. After a nested one the time of the
//!   outermost begins again.
//! - An allowed block is no stall, nor is what it contains. What is before and after it is timed apart.
//! - A poll holds its worker until the worker's counters move, it parks, or another thread says that it
//!   runs it. From then on nothing of the poll is a stall, unless a stack shows that it holds another
//!   worker.
//! - Where each worker is held by a stall or an allowed block, the runtime is frozen: at once if one is a
//!   stall, otherwise when the last block has lasted for `dead_after`.

#![cfg(test)]

use std::ops::Range;

use super::machine::FoundStall;
use super::threads::{DEAD_AFTER, MARKS, Sight, Threads};
use crate::clock::Nanos;
use crate::labels::PollKind;

/// What has to be found of a program.
#[derive(Debug)]
pub(super) struct Expected {
    /// By the time at which they are counted, then by thread.
    pub(super) stalls: Vec<ExpectedStall>,
    /// After each scan: for how long the runtime is frozen, and whether it is dead.
    pub(super) health: Vec<(Nanos, bool)>,
}

/// What is a stall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Poll,
    /// A nested mark.
    Inner,
    /// A poll that holds another worker than its thread said.
    Misplaced,
}

/// What has to be found is of these kinds.
pub(super) const KINDS: [&str; 5] =
    ["polls", "nested marks", "polls on another worker", "freezes", "dead runtimes"];

#[derive(Debug)]
pub(super) struct ExpectedStall {
    of: Of,
    thread: usize,
    worker: Option<usize>,
    handler: &'static str,
    counted_at: Nanos,
    since: Nanos,
    /// The end of a nested mark is only known to lie between two scans.
    lasted: (Nanos, Nanos),
    is_open: bool,
    /// The scans that see it as a stall.
    scans: Range<usize>,
}

/// An allowed block that holds a worker.
struct AllowedBlock {
    scans: Range<usize>,
}

impl ExpectedStall {
    pub(super) fn is(&self, found: &FoundStall) -> bool {
        let (shortest, longest) = self.lasted;
        (self.thread, self.worker, self.handler) == (found.thread, found.worker, &*found.handler)
            && (self.counted_at, self.since) == (found.counted_at, found.since)
            && (shortest..=longest).contains(&found.lasted)
            && self.is_open == found.is_open
    }
}

impl Expected {
    /// How many there are of each kind, at least.
    pub(super) fn count(&self) -> [usize; KINDS.len()] {
        let stalls = |of| self.stalls.iter().filter(|stall| stall.of == of).count();
        let is_frozen = self.health.iter().any(|(frozen, _)| *frozen > 0);
        let is_dead = self.health.iter().any(|(_, is_dead)| *is_dead);
        let stalls = [Of::Poll, Of::Inner, Of::Misplaced].map(stalls);
        [stalls[0], stalls[1], stalls[2], usize::from(is_frozen), usize::from(is_dead)]
    }
}

pub(super) fn expect(threads: &Threads) -> Expected {
    let (mut stalls, mut blocks) = (Vec::new(), Vec::new());
    for thread in 0..threads.threads.len() {
        Watch { threads, thread, stalls: &mut stalls, blocks: &mut blocks }.watch();
    }
    stalls.sort_by_key(|stall| (stall.counted_at, stall.thread));
    let health = health(threads, &stalls, &blocks);
    Expected { stalls, health }
}

/// One thread, seen by all scans.
struct Watch<'a> {
    threads: &'a Threads,
    thread: usize,
    stalls: &'a mut Vec<ExpectedStall>,
    blocks: &'a mut Vec<AllowedBlock>,
}

impl Watch<'_> {
    fn at(&self, scan: usize) -> Nanos {
        self.threads.scans[scan].0
    }

    fn sight(&self, scan: usize) -> Option<&Sight> {
        self.threads.scans.get(scan)?.1[self.thread].as_ref()
    }

    /// The scans from that one on that see the same.
    fn same<T: PartialEq>(&self, from: usize, what: impl Fn(&Sight) -> T) -> Range<usize> {
        let first = self.sight(from).map(&what);
        let is_other = |scan: &usize| self.sight(*scan).map(&what) != first;
        from..(from..).find(is_other).expect("no scan sees it after the last")
    }

    fn watch(&mut self) {
        // The poll that is known to have given its worker away.
        let mut lost = None;
        // The poll as it was seen first.
        let mut begun: Option<Sight> = None;
        let mut scan = 0;
        while scan < self.threads.scans.len() {
            let Some(first) = self.sight(scan).cloned() else {
                scan += 1;
                continue;
            };
            if begun.as_ref().is_none_or(|begun| begun.poll != first.poll) {
                begun = Some(first.clone());
            }
            let begun = begun.as_ref().expect("it has just been seen");
            let part = self.same(scan, |sight| sight.part);
            let is_known = lost == Some(first.poll) || first.is_elsewhere;
            let lost_at = if is_known { Some(scan) } else { self.lost_at(part.clone(), begun) };
            lost = lost_at.map(|_| first.poll).or(lost);
            let held = part.start..lost_at.unwrap_or(part.end);
            scan = part.end;
            if first.mark.is_none() {
                let has_worker = first.said.is_some();
                self.blocks.extend(has_worker.then_some(AllowedBlock { scans: held }));
                continue;
            }
            self.watch_part(held, part.end, |sight| sight.said);
            if let Some(lost_at) = lost_at {
                self.watch_misplaced(lost_at + usize::from(!is_known)..part.end);
            }
        }
    }

    /// The first scan that sees in a part of a poll that it no longer holds the worker.
    fn lost_at(&self, mut part: Range<usize>, begun: &Sight) -> Option<usize> {
        part.find(|scan| {
            self.sight(*scan).is_some_and(|sight| {
                let is_same = sight.counters == begun.counters && !sight.counters.is_parked();
                sight.is_elsewhere || !is_same
            })
        })
    }

    /// Finds the stalls of a part of a poll that is seen up to a scan, and holds a worker in some of them.
    fn watch_part(&mut self, held: Range<usize>, end: usize, worker: fn(&Sight) -> Option<usize>) {
        let (mut since, mut scan) = (held.start, held.start);
        while held.contains(&scan) {
            let sight = self.sight(scan).expect("it is seen").clone();
            let holds = |mark: usize| sight.said.is_some() || MARKS[mark].kind == PollKind::Root;
            let lasts = |from: usize, mark: usize| {
                holds(mark) && self.at(scan) - self.at(from) >= MARKS[mark].threshold
            };
            let outer = sight.mark.expect("it is not allowed");
            let mut waits = false;
            if let Some((run, mark)) = sight.inner {
                let is_same = |scan: &usize| {
                    self.sight(*scan).and_then(|sight| sight.inner) == Some((run, mark))
                };
                let first = held.clone().find(is_same).expect("this one at least");
                if lasts(first, mark) {
                    let last = held.clone().rfind(is_same).expect("this one at least");
                    self.add(Of::Inner, mark, first, scan..last + 1, end, worker(&sight));
                    (since, scan) = (last + 1, last + 1);
                    continue;
                }
                let threshold = MARKS[mark].threshold;
                waits = holds(mark)
                    && threshold <= MARKS[outer].threshold
                    && self.at(scan) - self.at(first) >= threshold / 2;
            }
            if lasts(since, outer) && !waits {
                self.add(Of::Poll, outer, since, scan..held.end, end, worker(&sight));
                return;
            }
            scan += 1;
        }
    }

    /// A poll that does not hold the worker that its thread said it runs. After its threshold a stack is
    /// taken, and the next scan knows.
    fn watch_misplaced(&mut self, part: Range<usize>) {
        let Some(first) = self.sight(part.start).filter(|_| !part.is_empty()).cloned() else {
            return;
        };
        let mark = first.mark.expect("it is not allowed");
        let is_long = |scan: &usize| self.at(*scan) - self.at(part.start) >= MARKS[mark].threshold;
        let Some(asked) = part.clone().find(is_long) else { return };
        let holds = |scan: usize| self.sight(scan).is_some_and(|sight| sight.worker.is_some());
        let held = part.start..part.clone().find(|scan| !holds(*scan)).unwrap_or(part.end);
        if held.contains(&(asked + 1)) {
            self.add(Of::Misplaced, mark, part.start, asked + 1..held.end, part.end, first.worker);
        }
    }

    /// Adds a stall that those scans see, in a part of a poll that is seen until `end`.
    fn add(
        &mut self,
        of: Of,
        mark: usize,
        first: usize,
        scans: Range<usize>,
        end: usize,
        worker: Option<usize>,
    ) {
        let last = scans.end - 1;
        let part = self.sight(last).expect("it is seen").part;
        let is_open = scans.end == self.threads.scans.len();
        let next = self.threads.scans.get(scans.end).map_or(self.at(last), |(at, _)| *at);
        let (shortest, longest) = match self.threads.ends.get(&part) {
            _ if is_open => (self.at(last), self.at(last)),
            // The end of a poll is known.
            Some(ended) if of != Of::Inner && scans.end == end => (*ended, *ended),
            _ if of != Of::Inner => (self.at(last), self.at(last)),
            _ => (self.at(last), next),
        };
        let since = self.at(first);
        self.stalls.push(ExpectedStall {
            of,
            thread: self.thread,
            worker,
            handler: MARKS[mark].handler,
            counted_at: self.at(scans.start),
            since,
            lasted: (shortest - since, longest - since),
            is_open,
            scans,
        });
    }
}

/// For how long the runtime is frozen after each scan, and whether it is dead.
fn health(
    threads: &Threads,
    stalls: &[ExpectedStall],
    blocks: &[AllowedBlock],
) -> Vec<(Nanos, bool)> {
    let at = |scan: usize| threads.scans[scan].0;
    let mut frozen_since = None;
    // For how long it was frozen when it was asked whether it still answers.
    let mut asked = None;
    let health = |scan: usize| {
        let now = at(scan);
        let on_workers = stalls.iter().filter(|stall| stall.worker.is_some());
        let stalls = on_workers.filter(|stall| stall.scans.contains(&scan));
        let blocks = blocks.iter().filter(|block| block.scans.contains(&scan));
        let (stalled, blocked) = (stalls.clone().count(), blocks.clone().count());
        let last_stall = stalls.map(|stall| stall.since).max();
        let last_block = blocks.map(|block| at(block.scans.start)).max();
        let since = match (last_stall, last_block) {
            (None, block) => block.map(|block| block + DEAD_AFTER),
            (stall, block) => stall.max(block),
        };
        let is_held = stalled + blocked >= threads.counters.len();
        let since = since.filter(|since| is_held && *since <= now);
        frozen_since = since.map(|since| frozen_since.unwrap_or(since));
        let Some(since) = frozen_since else {
            asked = None;
            return (0, false);
        };
        let frozen = (now - since).max(1);
        if frozen >= DEAD_AFTER / 2 {
            asked = asked.or(Some(frozen));
        }
        let is_silent = asked.is_some_and(|asked| frozen - asked >= DEAD_AFTER / 2);
        (frozen, frozen >= DEAD_AFTER && is_silent)
    };
    (0..threads.scans.len()).map(health).collect()
}
