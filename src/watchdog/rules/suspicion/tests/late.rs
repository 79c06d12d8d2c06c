//! Stacks that are asked for at once or again, and those whose names come late.

use super::*;

/// How long the stall lasted that was proven after its end.
fn ended(scene: &mut Scene, now: Nanos) -> Option<Nanos> {
    let ended = scene.suspicion.ended_stall(now)?;
    assert_eq!(ended.event, PollEvent::Counted(ended.lasted));
    assert_eq!((ended.thread, ended.stack.missing), (WORKER.thread, Some("its stack")));
    Some(ended.lasted)
}

#[test]
fn after_an_idle_time_a_stack_is_asked_for_at_once() {
    let mut scene = Scene::new();
    scene.worker.at_once = true;
    assert_eq!(scene.scan(START), Seen::CollectsAndAsks);
    scene.expect("Asked");
    scene.answer(START + 10, Stack::Counted(ADDRESS));
    assert_eq!(scene.scan(START + 25), Seen::Collects);
    assert_eq!(scene.scan(START + 110), Seen::Asks);
    let mut scene = Scene::new();
    scene.worker.at_once = true;
    scene.scan(START);
    scene.answer(START + 10, Stack::Uncounted);
    scene.evidence.same_wait = true;
    assert_eq!(scene.scan(START + 25), Seen::Poll(PollEvent::None));
    scene.expect("Proven");
    assert_eq!(scene.scan(START + 100), Seen::Poll(PollEvent::Counted(100)));
}

#[test]
fn a_wait_that_is_over_before_its_stack_has_names_is_a_stall_afterwards() {
    let over = || {
        let mut scene = Scene::asked();
        scene.sample(OVER + 5, None);
        scene.evidence.same_wait = true;
        assert_eq!(scene.scan(OVER + 10), Seen::Nothing);
        assert_eq!(scene.scan(OVER + 35), Seen::Nothing);
        scene.expect("Asked");
        scene
    };
    // It may be seen by the worker, or by the thread.
    for moves in [true, false] {
        let mut scene = over();
        if moves {
            assert_eq!(scene.clear(true), None);
        } else {
            scene.evidence.same_wait = false;
            assert_eq!(scene.scan(OVER + 60), Seen::Nothing);
        }
        scene.expect("Clear");
        assert_eq!(scene.suspicion.undecided_since(), Some(START));
        assert_eq!(ended(&mut scene, OVER + 900), None, "not known yet");
        scene.answer(OVER + 910, Stack::Uncounted);
        assert_eq!(ended(&mut scene, OVER + 920), Some(135), "until it was last seen");
        assert_eq!(ended(&mut scene, OVER + 930), None);
        assert!(!scene.is_undecided());
    }
    let mut scene = over();
    scene.clear(true);
    scene.answer(OVER + 910, Stack::Other);
    assert_eq!(ended(&mut scene, OVER + 920), None, "in no poll");
    assert!(!scene.is_undecided());
    let mut scene = over();
    scene.clear(true);
    assert_eq!(ended(&mut scene, OVER + PATIENCE), None);
    assert!(!scene.is_undecided(), "for ever is too long");
}

#[test]
fn a_wait_that_ends_unseen_proves_nothing_afterwards() {
    // Before its stack was taken, before it was seen after that, and on another thread.
    let mut scene = Scene::asked();
    scene.evidence.same_wait = true;
    scene.scan(OVER + 10);
    scene.clear(true);
    assert!(!scene.is_undecided());
    let mut scene = Scene::asked();
    scene.sample(OVER + 5, None);
    scene.clear(true);
    assert!(!scene.is_undecided());
    let mut scene = Scene::asked();
    scene.sample(OVER + 5, None);
    scene.evidence.same_wait = true;
    scene.scan(OVER + 10);
    scene.worker.thread = 8;
    scene.scan(OVER + 35);
    assert!(!scene.suspicion.awaits_names());
}

#[test]
fn a_wait_is_followed_by_the_count_that_began_meanwhile() {
    let mut scene = Scene::asked();
    scene.sample(OVER + 5, Some(ADDRESS));
    scene.evidence.same_wait = true;
    scene.scan(OVER + 10);
    scene.evidence.same_wait = false;
    assert_eq!(scene.scan(OVER + 35), Seen::Nothing, "it woke and goes on");
    scene.expect("Asked");
    scene.returns.store(1, Relaxed);
    scene.scan(OVER + 60);
    scene.answer(OVER + 70, Stack::Counted(ADDRESS));
    assert_eq!(ended(&mut scene, OVER + 80), Some(135));
    // Where the poll returns elsewhere, its returns are not known.
    let mut scene = Scene::asked();
    scene.sample(OVER + 5, Some(ADDRESS + 8));
    scene.evidence.same_wait = true;
    scene.scan(OVER + 10);
    scene.evidence.same_wait = false;
    scene.scan(OVER + 35);
    scene.clear(true);
    scene.answer(OVER + 70, Stack::Counted(ADDRESS));
    assert_eq!(ended(&mut scene, OVER + 80), None);
}

/// Returns are counted since `OVER + 5`, and the stack has no names yet.
fn counting_unnamed() -> Scene {
    let mut scene = Scene::asked();
    scene.sample(OVER + 5, Some(ADDRESS));
    assert_eq!(scene.scan(OVER + 10), Seen::Collects);
    scene.expect("Counting");
    scene
}

#[test]
fn returns_are_counted_before_the_stack_has_names() {
    let mut scene = counting_unnamed();
    let first = scene.asked.clone();
    assert_eq!(scene.scan(OVER + 104), Seen::Nothing);
    assert_eq!(scene.scan(OVER + 105), Seen::Asks);
    let second = scene.asked.clone();
    for proof in [first, second] {
        scene.asked = proof;
        scene.answer(OVER + 110, Stack::Counted(ADDRESS));
    }
    assert_eq!(scene.scan(OVER + 115), Seen::Poll(PollEvent::Counted(110)));
    scene.expect("Stalled");
    assert_eq!(scene.scan(OVER + 120), Seen::Poll(PollEvent::Lasts(115)));
}

#[test]
fn a_poll_that_returns_before_its_stacks_have_names_is_a_stall_afterwards() {
    for (places, lasted) in [
        ([ADDRESS, ADDRESS], Some(155)),
        ([ADDRESS, ADDRESS + 8], None),
        ([ADDRESS + 8, ADDRESS + 8], None),
    ] {
        let mut scene = counting_unnamed();
        let first = scene.asked.clone();
        scene.scan(OVER + 110);
        scene.sample(OVER + 120, None);
        let second = scene.asked.clone();
        for now in [OVER + 135, OVER + 160] {
            assert_eq!(scene.scan(now), Seen::Nothing);
            scene.expect("AskedAgain");
        }
        scene.returns.store(1, Relaxed);
        assert_eq!(scene.scan(OVER + 185), Seen::Nothing);
        scene.expect("Clear");
        assert_eq!(scene.suspicion.undecided_since(), Some(OVER + 5));
        for (proof, place) in [first, second].into_iter().zip(places) {
            assert_eq!(ended(&mut scene, OVER + 900), None);
            scene.asked = proof;
            scene.answer(OVER + 910, Stack::Counted(place));
        }
        assert_eq!(ended(&mut scene, OVER + 920), lasted, "{places:x?}");
        assert!(!scene.is_undecided());
    }
}

#[test]
fn a_poll_that_returns_before_it_was_seen_with_its_second_stack_is_none() {
    let mut scene = counting_unnamed();
    scene.scan(OVER + 110);
    scene.sample(OVER + 120, None);
    scene.returns.store(1, Relaxed);
    scene.expect_rest(OVER + 135);
}

#[test]
fn where_the_poll_returns_elsewhere_the_time_starts_again_with_its_names() {
    for asks_again in [false, true] {
        let mut scene = Scene::asked();
        scene.sample(OVER + 5, Some(ADDRESS + 8));
        scene.scan(OVER + 10);
        let first = scene.asked.clone();
        if asks_again {
            assert_eq!(scene.scan(OVER + 105), Seen::Asks);
        }
        scene.asked = first;
        scene.answer(OVER + 140, Stack::Counted(ADDRESS));
        assert_eq!(scene.scan(OVER + 150), Seen::Collects);
        scene.expect("Counting");
        assert_eq!(scene.scan(OVER + 239), Seen::Nothing);
        assert_eq!(scene.scan(OVER + 240), Seen::Asks);
    }
    // What was counted may have been passed, which says nothing.
    let mut scene = Scene::asked();
    scene.sample(OVER + 5, Some(ADDRESS + 8));
    scene.scan(OVER + 10);
    let wrong = std::mem::take(&mut scene.returns);
    wrong.store(1, Relaxed);
    assert_eq!(scene.scan(OVER + 35), Seen::Nothing);
    scene.expect("Asked");
    assert_eq!(scene.scan(OVER + 60), Seen::Nothing);
    scene.answer(OVER + 70, Stack::Counted(ADDRESS));
    assert_eq!(scene.scan(OVER + 85), Seen::Collects);
    scene.expect("Counting");
}

#[test]
fn one_that_is_over_is_kept_at_a_time() {
    let mut scene = Scene::asked();
    scene.sample(OVER + 5, None);
    scene.evidence.same_wait = true;
    scene.scan(OVER + 10);
    scene.clear(true);
    assert_eq!(scene.scan(OVER + 1000), Seen::Collects);
    scene.scan(OVER + 1100);
    scene.sample(OVER + 1105, None);
    scene.scan(OVER + 1110);
    scene.evidence.same_wait = false;
    scene.expect_rest_undecided(OVER + 1120);
    assert_eq!(scene.suspicion.undecided_since(), Some(START));
}

#[test]
fn a_second_stack_that_could_not_be_taken_is_asked_for_again() {
    let mut scene = Scene::asked_again();
    let mut now = OVER + 110;
    for _ in 0..MOST_FAILURES {
        scene.fail();
        assert_eq!(scene.scan(now + 1), Seen::Nothing);
        scene.expect("Counting");
        now += 2;
        assert_eq!(scene.scan(now), Seen::Asks);
    }
    scene.answer(now, Stack::Counted(ADDRESS));
    assert_eq!(scene.scan(now + 1), Seen::Poll(PollEvent::Counted(now + 1 - OVER - 10)));
    let mut scene = Scene::asked_again();
    scene.suspicion.failures = MOST_FAILURES;
    scene.fail();
    scene.expect_rest(OVER + 120);
    let mut scene = Scene::asked();
    scene.fail();
    scene.expect_rest(OVER + 1);
}
