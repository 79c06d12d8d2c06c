//! Runs a program with real marks and guards on real slots, and scans by hand.

#![cfg(test)]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{EnterGuard, Handle};

use super::program::{FURTHER_THREADS, MOST_WORKERS, Op, Then};
use super::threads::{DEAD_AFTER, Frame, MARKS, MarkSpec, Threads};
use crate::clock::{self, Nanos};
use crate::mark::thread_slots::{PollGuard, play};
use crate::mark::{Allowed, Mark};
use crate::runtime::registry::{Limits, NO_DETECTOR, Registry};
use crate::runtime::{Runtime, by_hand};
use crate::slot::Slot;
use crate::stall::{LiveStall, StackResult};
use crate::watchdog::events::Event;
use crate::watchdog::rules::health::Patience;
use crate::watchdog::scan::{ScanStart, Scanner};
use crate::watchdog::settings::WatchdogSettings;

/// No thread of this process has such a number: nothing is read of it.
const FIRST_THREAD: u32 = 5_000_000;
/// The threshold of the detector: that of polls without a mark, which these programs do not have.
const THRESHOLD: Nanos = 30;

pub(super) struct Machine<'a> {
    registry: Arc<Registry>,
    runtime: Arc<Runtime>,
    scanner: Scanner,
    slots: &'static [Slot],
    guards: Vec<Vec<Guard>>,
    marks: Vec<Mark>,
    counted: BTreeMap<u64, Counted>,
    health: Vec<(Nanos, bool)>,
    _inside: EnterGuard<'a>,
}

/// What a thread is in; left when dropped.
#[expect(dead_code, reason = "held for their destructors")]
enum Guard {
    Poll(PollGuard),
    Allowed(Allowed),
}

struct Counted {
    at: Nanos,
    since: Nanos,
    thread: usize,
    stall: Arc<LiveStall>,
}

/// What was found of a program.
#[derive(Debug)]
pub(super) struct Found {
    /// By the time at which they were counted, then by thread.
    pub(super) stalls: Vec<FoundStall>,
    /// After each scan: for how long the runtime is frozen, and whether it is dead.
    pub(super) health: Vec<(Nanos, bool)>,
}

#[derive(Debug)]
pub(super) struct FoundStall {
    pub(super) thread: usize,
    pub(super) worker: Option<usize>,
    pub(super) handler: String,
    pub(super) counted_at: Nanos,
    pub(super) since: Nanos,
    pub(super) lasted: Nanos,
    pub(super) is_open: bool,
}

thread_local! {
    /// Slots that one program after the other has.
    static SLOTS: &'static [Slot] =
        Vec::leak((0..MOST_WORKERS + FURTHER_THREADS).map(|_| Slot::new()).collect());
}

impl<'a> Machine<'a> {
    pub(super) fn new(threads: &Threads, tokio: &'a Handle) -> Self {
        clock::by_hand::set(Some(threads.now));
        let registry = Registry::new(Limits {
            threshold: THRESHOLD,
            handlers: MARKS.len(),
            history: 8,
            watching: true,
            capture: "off",
            on_new_runtime: None,
            everywhere: false,
        });
        let runtime = registry.add_runtime("programs", tokio).expect("it watches");
        let slots = &SLOTS.with(|slots| *slots)[..threads.threads.len()];
        slots.iter().for_each(|slot| registry.add_slot(slot));
        let mark = |spec: &MarkSpec| Mark {
            detector: registry.id,
            label_id: registry.labels.id(spec.handler, spec.threshold, spec.kind),
        };
        let patience = Patience {
            dead_after: DEAD_AFTER,
            unready_after: DEAD_AFTER,
            ready_after: DEAD_AFTER,
            shed_after: DEAD_AFTER,
        };
        let settings = WatchdogSettings {
            scan_interval: 25,
            tick_interval: Duration::from_nanos(25),
            // The usual pace.
            idle_interval: 0,
            patience,
            rescue: true,
        };
        let mut scanner = Scanner::new(Arc::clone(&registry), settings);
        scanner.environment.without_quota();
        Self {
            marks: MARKS.iter().map(mark).collect(),
            scanner,
            runtime,
            slots,
            guards: slots.iter().map(|_| Vec::new()).collect(),
            counted: BTreeMap::new(),
            health: Vec::new(),
            registry,
            _inside: tokio.enter(),
        }
    }

    /// Does what the threads have just done.
    pub(super) fn apply(&mut self, op: Op, threads: &Threads) {
        clock::by_hand::set(Some(threads.now));
        by_hand::set_counters(&threads.counters);
        let enter = |machine: &mut Self, thread: usize| {
            let frames = &threads.threads[thread].frames;
            for frame in &frames[machine.guards[thread].len()..] {
                machine.enter(thread, *frame, threads.threads[thread].worker);
            }
        };
        match op {
            Op::Pass(_) | Op::Park(_) | Op::GoOn(_) => {}
            Op::Scan => self.scan(threads, 0),
            Op::Enter(thread, _) | Op::Allow(thread) => enter(self, thread),
            Op::Leave(thread) => drop(self.guards[thread].pop()),
            Op::Yield(thread) => {
                while self.guards[thread].pop().is_some() {}
                enter(self, thread);
            }
            Op::Panic(thread, kept) => {
                let unwound = self.guards[thread].drain(kept..);
                let caught = catch_unwind(AssertUnwindSafe(|| panic_in(unwound)));
                assert!(caught.is_err(), "it panics");
            }
            Op::InPlace { then: Then::Polls(_), taker, .. } => enter(self, taker),
            Op::InPlace { .. } => {}
        }
    }

    fn enter(&mut self, thread: usize, frame: Frame, worker: Option<usize>) {
        play(self.registry.id, Some(&self.slots[thread]), number(thread));
        by_hand::set_worker(Some(worker));
        self.guards[thread].push(match frame {
            Frame::Mark(mark) => Guard::Poll(self.marks[mark].enter()),
            Frame::Allowed => Guard::Allowed(Allowed::begin("program")),
        });
    }

    /// Scans, so long after that was due.
    pub(super) fn scan(&mut self, threads: &Threads, late: Nanos) {
        let now = threads.now;
        let start = ScanStart { now, late, woken: false, sampled: 0 };
        for event in self.scanner.scan(start).drain() {
            match event {
                Event::StallCounted { stall, thread } => {
                    let thread = (thread.id - FIRST_THREAD) as usize;
                    let since = now - stall.lasted();
                    let is_new = Counted { at: now, since, thread, stall };
                    let id = is_new.stall.id();
                    let before = self.counted.insert(id, is_new);
                    let is_first = before.is_none_or(|it| it.stall.cause().is_environment());
                    assert!(is_first, "{id} is counted twice");
                }
                Event::StallEnded(stall) => {
                    assert!(stall.is_ended() && self.counted.contains_key(&stall.id()));
                }
                // The stack of a thread shows a poll, and whether it has given its worker away.
                Event::Prove(proof) => {
                    let thread = &threads.threads[(proof.thread - FIRST_THREAD) as usize];
                    if thread.worker.is_some() && !thread.frames.is_empty() {
                        proof.held(now, StackResult::default(), 0, None);
                    } else {
                        proof.not_held();
                    }
                }
                _ => {}
            }
        }
        let due = self.scanner.open_polls.due;
        assert!(due > now, "the next scan was due {} ns ago", now - due);
        let status = self.runtime.snapshot(now);
        self.health.push((clock::nanos(status.frozen), status.dead));
    }

    /// What was found up to now.
    pub(super) fn found(&self) -> Found {
        let found = |counted: &Counted| {
            let record = counted.stall.stall();
            FoundStall {
                thread: counted.thread,
                worker: record.worker,
                handler: record.handler.into(),
                counted_at: counted.at,
                since: counted.since,
                lasted: clock::nanos(record.duration),
                is_open: record.in_progress,
            }
        };
        let mut stalls: Vec<_> = self.counted.values().map(found).collect();
        stalls.sort_by_key(|stall| (stall.counted_at, stall.thread));
        Found { stalls, health: self.health.clone() }
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        for guards in &mut self.guards {
            while guards.pop().is_some() {}
        }
        self.slots.iter().for_each(|slot| {
            slot.give_up();
        });
        play(NO_DETECTOR, None, 0);
        by_hand::set_worker(None);
        by_hand::set_counters(&[]);
        clock::by_hand::set(None);
    }
}

/// Panics within frames that have these guards, the outermost first.
fn panic_in(mut guards: impl Iterator<Item = Guard>) {
    match guards.next() {
        None => resume_unwind(Box::new("on purpose")),
        Some(guard) => {
            let _left_while_unwinding = guard;
            panic_in(guards);
        }
    }
}

fn number(thread: usize) -> u32 {
    FIRST_THREAD + thread as u32
}
