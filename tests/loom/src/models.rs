//! The models.

use std::sync::atomic::AtomicU64;

use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::slot::{
    Entered, Identity, LabelId, NO_TRACE, OpenPoll, Place, Slot, SlotReading, Trace,
};
use crate::sync::Ordering::Relaxed;

/// How often in one execution a thread is interrupted that could go on. One is enough where the
/// watchdog only reads.
const MOST_PREEMPTIONS: usize = 1;

/// Tries `owner` against `watchdog`.
///
/// Loom finds out which orders to try from the last access to each atomic, so that a load by the
/// owner hides one by the watchdog just before it. It is enough that the owner goes first: what
/// the watchdog then loads may be any store the orderings leave it, down to the first.
fn model(
    preemptions: usize,
    owner: impl Fn(&Slot) + Send + Sync + 'static,
    watchdog: impl Fn(&Slot) + Send + Sync + 'static,
) {
    let (owner, watchdog) = (std::sync::Arc::new(owner), std::sync::Arc::new(watchdog));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let slot = Arc::new(Slot::new());
        let watchdog = thread::spawn({
            let (slot, watchdog) = (Arc::clone(&slot), std::sync::Arc::clone(&watchdog));
            move || watchdog(&slot)
        });
        owner(&slot);
        watchdog.join().expect("the watchdog ends");
    });
}

/// The thread's answer when asked for the `n`th time.
fn identity(n: u32) -> Identity {
    Identity { place: Place { runtime: n, worker: Some(n) }, thread: 1000 + n, claim: u64::from(n) }
}

/// Both halves tell the poll.
fn trace(poll: u64) -> u128 {
    (u128::from(poll) << 64) | u128::from(poll)
}

fn halves(poll: u64) -> Trace {
    [poll; 2]
}

fn leave(slot: &Slot, entered: Entered) {
    slot.leave(entered, || 0);
}

/// Some readings, and what is said of each.
fn watch(slot: &Slot, readings: usize, check: impl Fn(OpenPoll)) {
    let mut last = 0;
    for _ in 0..readings {
        let reading = slot.read();
        let (SlotReading::Between(sequence) | SlotReading::Open(OpenPoll { sequence, .. })) =
            reading;
        assert!(sequence >= last, "the number went back from {last} to {sequence}");
        last = sequence;
        if let SlotReading::Open(open) = reading {
            check(open);
        }
    }
}

/// A reading has the label, the trace and the identity of the poll whose number it has.
pub fn a_reading_belongs_to_one_poll() {
    model(
        MOST_PREEMPTIONS,
        |slot| {
            for poll in [1, 3] {
                slot.ask();
                let entered = slot.enter(LabelId(poll), |_| identity(poll));
                let before = slot.swap_trace(halves(poll.into()));
                assert_eq!(before, NO_TRACE);
                slot.swap_trace(before);
                leave(slot, entered);
            }
        },
        |slot| {
            watch(slot, 1, |open| {
                let poll = open.sequence as u32;
                assert_eq!((open.label_id.0, open.identity), (poll, identity(poll)));
                assert!([0, trace(open.sequence)].contains(&open.trace), "{open:x?}");
            });
        },
    );
}

/// With nested marks, label and trace are some that were entered in that poll, never halves
/// of two traces. Two readings of one inner mark are of the same poll.
pub fn nested_marks_stay_inside_their_poll() {
    model(
        MOST_PREEMPTIONS,
        |slot| {
            for poll in [1, 3] {
                let outer = slot.enter(LabelId(poll * 10), |_| identity(1));
                let before = slot.swap_trace(halves(u64::from(poll) * 10));
                let inner =
                    slot.enter(LabelId(poll * 10 + 1), |_| unreachable!("not the outermost"));
                let between = slot.swap_trace(halves(u64::from(poll) * 10 + 1));
                slot.swap_trace(between);
                leave(slot, inner);
                slot.swap_trace(before);
                leave(slot, outer);
            }
        },
        |slot| {
            watch(slot, 1, |open| {
                let (outer, inner) = (open.sequence * 10, open.sequence * 10 + 1);
                assert_eq!(u64::from(open.label_id.0), outer, "{open:?}");
                let label = open.inner.map(|mark| u64::from(mark.label_id().0));
                assert!([None, Some(inner)].contains(&label), "{open:?}");
                assert!([0, trace(outer), trace(inner)].contains(&open.trace), "{open:x?}");
                assert_eq!(open.identity, identity(1));
            });
        },
    );
}

/// A question is answered by somebody who looked after it was asked.
pub fn a_question_is_answered() {
    // Not loom's: they number the events in the order of an execution.
    static EVENTS: AtomicU64 = AtomicU64::new(0);
    static ANSWERED: AtomicU64 = AtomicU64::new(0);
    static ASKED: AtomicU64 = AtomicU64::new(0);
    fn note(event: &AtomicU64) {
        event.store(EVENTS.fetch_add(1, Relaxed) + 1, Relaxed);
    }
    fn poll(slot: &Slot) {
        let entered = slot.enter(LabelId(1), |_| {
            note(&ANSWERED);
            // For loom, so that the other thread can come in between here.
            thread::yield_now();
            identity(1)
        });
        leave(slot, entered);
    }
    let builder = loom::model::Builder::new();
    builder.check(|| {
        let slot = Arc::new(Slot::new());
        let watchdog = thread::spawn({
            let slot = Arc::clone(&slot);
            move || {
                note(&ASKED);
                slot.ask();
            }
        });
        poll(&slot);
        poll(&slot);
        watchdog.join().expect("the watchdog ends");
        poll(&slot);
        assert!(ANSWERED.load(Relaxed) > ASKED.load(Relaxed), "the question was lost");
    });
}

/// Who wants to be woken is woken once: by a poll that begins meanwhile, or by the next one that
/// begins afterwards.
pub fn a_wish_for_a_wake_up_comes_true_once() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(MOST_PREEMPTIONS + 1);
    builder.check(|| {
        let slot = Arc::new(Slot::new());
        let wakes = Arc::new(Mutex::new(0));
        let poll = |slot: &Slot, wakes: &Mutex<u32>| {
            let entered = slot.enter(LabelId(1), |wake| {
                *wakes.lock().expect("no panic") += u32::from(wake);
                identity(1)
            });
            leave(slot, entered);
        };
        let watchdog = thread::spawn({
            let slot = Arc::clone(&slot);
            move || {
                slot.want_wake_up();
                // Neither of these may lose it.
                slot.ask();
                slot.want_leave_time();
            }
        });
        poll(&slot, &wakes);
        watchdog.join().expect("the watchdog ends");
        poll(&slot, &wakes);
        poll(&slot, &wakes);
        assert_eq!(*wakes.lock().expect("no panic"), 1);
    });
}

/// An end time is that of the poll it is read for, however late it was asked for.
pub fn an_end_time_is_that_of_its_poll() {
    model(
        MOST_PREEMPTIONS + 2,
        |slot| {
            for poll in [1, 3, 5] {
                let entered = slot.enter(LabelId(1), |_| identity(1));
                slot.leave(entered, || 100 + poll);
            }
        },
        |slot| {
            let mut wanted = None;
            for _ in 0..3 {
                let sequence = slot.sequence();
                match wanted {
                    Some(wanted) if wanted != sequence => {
                        let left_at = slot.left_at(wanted);
                        assert!(
                            left_at.is_none_or(|at| at == 100 + wanted),
                            "{wanted} {left_at:?}"
                        );
                    }
                    None if sequence & 1 == 1 => {
                        slot.want_leave_time();
                        wanted = Some(sequence);
                    }
                    _ => {}
                }
            }
        },
    );
}

/// Who wanted an end time before the poll ended, and sees that it has, is told.
pub fn an_end_time_wanted_in_time_is_told() {
    model(
        MOST_PREEMPTIONS,
        |slot| {
            slot.want_leave_time();
            for poll in [1, 3] {
                let entered = slot.enter(LabelId(1), |_| identity(1));
                slot.leave(entered, || 100 + poll);
            }
        },
        |slot| {
            if slot.sequence() >= 2 {
                assert_eq!(slot.left_at(1), Some(101));
            }
        },
    );
}

/// The number of an allowed block goes with its label alone, the numbers around it with the
/// label of the poll.
pub fn an_allowed_block_is_never_blamed() {
    const POLL: LabelId = LabelId(1);
    const ALLOWED: LabelId = LabelId(2);
    model(
        MOST_PREEMPTIONS,
        |slot| {
            let entered = slot.enter(POLL, |_| identity(1));
            let allowed = slot.begin_allowed(ALLOWED, |_| identity(1), || 0);
            slot.end_allowed(allowed, || 0);
            leave(slot, entered);
        },
        |slot| {
            watch(slot, 2, |open| {
                let expected = if open.sequence == 3 { ALLOWED } else { POLL };
                assert_eq!((open.label_id, open.part_of), (expected, 1), "{open:?}");
            });
        },
    );
}

/// A slot that changes hands never mixes its owners, whether the first was inside a poll or not.
pub fn owners_do_not_mix() {
    fn own(slot: &Slot, number: u32, inside: bool) {
        let entered = slot.enter(LabelId(number), |_| identity(number));
        slot.swap_trace(halves(number.into()));
        if !inside {
            slot.swap_trace(NO_TRACE);
            leave(slot, entered);
        }
        assert_eq!(slot.give_up(), 0);
    }
    for inside in [false, true] {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(MOST_PREEMPTIONS);
        builder.check(move || {
            let slot = Arc::new(Slot::new());
            let pool = Arc::new(Mutex::new(()));
            let later = thread::spawn({
                let (slot, pool) = (Arc::clone(&slot), Arc::clone(&pool));
                move || {
                    let _free = pool.lock().expect("the pool");
                    own(&slot, 2, inside);
                }
            });
            let watchdog = thread::spawn({
                let slot = Arc::clone(&slot);
                move || {
                    watch(&slot, 1, |open| {
                        assert_eq!(open.identity, identity(open.label_id.0), "{open:?}");
                        assert!(
                            [0, trace(open.label_id.0.into())].contains(&open.trace),
                            "{open:x?}"
                        );
                    });
                }
            });
            let taken = pool.lock().expect("the pool");
            own(&slot, 1, inside);
            drop(taken);
            later.join().expect("the later owner ends");
            watchdog.join().expect("the watchdog ends");
            assert!(!slot.is_open());
        });
    }
}
