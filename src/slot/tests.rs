//! Tests of one slot on one thread. The orders of several threads are tried in `tests/loom`.

use super::*;

const WHO: Identity =
    Identity { place: Place { runtime: 3, worker: Some(0) }, thread: 77, claim: 5 };

fn enter(slot: &Slot, label_id: u32) -> Entered {
    slot.enter(LabelId(label_id), |_| WHO)
}

fn open(slot: &Slot) -> OpenPoll {
    match slot.read() {
        SlotReading::Open(open) => open,
        SlotReading::Between(sequence) => panic!("nothing open, sequence {sequence}"),
    }
}

#[test]
fn a_poll_is_seen_while_it_lasts_and_only_then() {
    let slot = Slot::new();
    assert_eq!(slot.read(), SlotReading::Between(0));
    let entered = enter(&slot, 9);
    let label_id = LabelId(9);
    assert_eq!(
        open(&slot),
        OpenPoll { sequence: 1, part_of: 1, label_id, inner: None, trace: 0, identity: WHO }
    );
    slot.leave(entered, || unreachable!("nobody asked for the time"));
    assert_eq!(slot.read(), SlotReading::Between(2));
}

/// The labels of the poll and of the innermost mark in it.
fn labels(slot: &Slot) -> (u32, Option<u32>) {
    let open = open(slot);
    (open.label_id.0, open.inner.map(|inner| inner.label_id().0))
}

#[test]
fn a_nested_mark_shows_beside_the_outer_one_until_it_is_left() {
    let slot = Slot::new();
    let outer = enter(&slot, 1);
    assert_eq!(labels(&slot), (1, None));
    let inner = enter(&slot, 2);
    assert_eq!(labels(&slot), (1, Some(2)));
    let innermost = enter(&slot, 3);
    assert_eq!(labels(&slot), (1, Some(3)));
    slot.leave(innermost, || 0);
    assert_eq!(labels(&slot), (1, Some(2)));
    slot.leave(inner, || 0);
    assert_eq!((labels(&slot), open(&slot).sequence), ((1, None), 1));
    slot.leave(outer, || 0);
    assert_eq!(slot.read(), SlotReading::Between(2));
}

#[test]
fn two_nested_marks_of_one_label_are_told_apart() {
    let slot = Slot::new();
    let outer = enter(&slot, 1);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let inner = enter(&slot, 2);
        seen.extend(open(&slot).inner);
        assert_eq!(open(&slot).inner.as_ref(), seen.last());
        slot.leave(inner, || 0);
    }
    seen.dedup();
    assert_eq!(seen.len(), 3);
    slot.leave(outer, || 0);
}

#[test]
fn who_the_thread_is_is_told_at_first_and_when_asked() {
    let slot = Slot::new();
    let entered = enter(&slot, 1);
    slot.leave(entered, || 0);
    let entered = slot.enter(LabelId(1), |_| unreachable!("nobody asked"));
    slot.ask();
    slot.leave(entered, || 0);
    let later = Identity { claim: 6, ..WHO };
    let entered = slot.enter(LabelId(1), |_| later);
    assert_eq!(open(&slot).identity, later);
    slot.leave(entered, || 0);
}

#[test]
fn a_wake_up_is_wanted_once_and_can_be_taken_back() {
    let slot = Slot::new();
    let woken = std::cell::Cell::new(0);
    let poll = || {
        let answer = |wake| {
            woken.set(woken.get() + u32::from(wake));
            WHO
        };
        slot.leave(slot.enter(LabelId(1), answer), || 0);
    };
    poll();
    assert_eq!(woken.get(), 0);
    slot.want_wake_up();
    (0..2).for_each(|_| poll());
    assert_eq!(woken.get(), 1);
    slot.want_wake_up();
    slot.want_no_wake_up();
    poll();
    assert_eq!(woken.get(), 1);
}

#[test]
fn the_end_of_a_stall_is_timed_for_the_poll_that_was_meant() {
    let slot = Slot::new();
    let entered = enter(&slot, 1);
    slot.want_leave_time();
    slot.leave(entered, || 1234);
    assert_eq!(slot.left_at(1), Some(1234));
    assert_eq!(slot.left_at(3), None);
    let entered = enter(&slot, 1);
    slot.leave(entered, || unreachable!("the wish is fulfilled"));
}

#[test]
fn an_allowed_block_parts_the_poll_in_two() {
    let slot = Slot::new();
    let poll = enter(&slot, 1);
    let allowed = slot.begin_allowed(LabelId(2), |_| WHO, || 0);
    assert_eq!((open(&slot).label_id.0, open(&slot).sequence), (2, 3));
    slot.end_allowed(allowed, || 0);
    assert_eq!((open(&slot).label_id.0, open(&slot).sequence), (1, 5));
    let inner = enter(&slot, 4);
    let allowed = slot.begin_allowed(LabelId(2), |_| WHO, || 0);
    let nested = enter(&slot, 5);
    assert_eq!(labels(&slot), (2, None), "what is nested in it is allowed too");
    slot.leave(nested, || 0);
    slot.end_allowed(allowed, || 0);
    assert_eq!(labels(&slot), (1, Some(4)));
    slot.leave(inner, || 0);
    slot.leave(poll, || 0);
    assert_eq!(slot.read(), SlotReading::Between(10));
}

#[test]
fn an_allowed_block_within_another_is_a_part_of_it() {
    let slot = Slot::new();
    let begin = || slot.begin_allowed(LabelId(2), |_| WHO, || 0);
    let allowed_for_two = |sequence| {
        let nested = begin();
        assert_eq!((labels(&slot), open(&slot).sequence), ((2, None), sequence));
        slot.end_allowed(nested, || 0);
        assert_eq!((labels(&slot), open(&slot).sequence), ((2, None), sequence));
    };
    let outermost = begin();
    allowed_for_two(1);
    slot.end_allowed(outermost, || 0);
    let poll = enter(&slot, 1);
    let outer = begin();
    allowed_for_two(5);
    slot.end_allowed(outer, || 0);
    assert_eq!((labels(&slot), open(&slot).sequence), ((1, None), 7));
    slot.leave(poll, || 0);
    assert!(!slot.is_open());
}

#[test]
fn the_parts_of_a_poll_say_which_poll_that_is() {
    let slot = Slot::new();
    for begun in [1, 7] {
        let poll = enter(&slot, 1);
        assert_eq!((open(&slot).sequence, open(&slot).part_of), (begun, begun));
        let allowed = slot.begin_allowed(LabelId(2), |_| WHO, || 0);
        assert_eq!((open(&slot).sequence, open(&slot).part_of), (begun + 2, begun));
        slot.end_allowed(allowed, || 0);
        assert_eq!((open(&slot).sequence, open(&slot).part_of), (begun + 4, begun));
        slot.leave(poll, || 0);
    }
}

#[test]
fn a_slot_that_changes_hands_asks_the_new_owner() {
    let slot = Slot::new();
    let _ = enter(&slot, 1);
    slot.count_in_flight(1);
    assert_eq!(slot.give_up(), 1);
    assert_eq!((slot.in_flight(), slot.is_open()), (0, false));
    let later = Identity { thread: 78, ..WHO };
    let _ = slot.enter(LabelId(1), |_| later);
    assert_eq!(open(&slot).identity, later);
}

#[test]
fn places_survive_packing() {
    for place in [
        Place::default(),
        Place { runtime: 1, worker: None },
        Place { runtime: u32::MAX, worker: Some(u32::MAX - 1) },
    ] {
        assert_eq!(Place::unpack(place.pack()), place);
    }
}
