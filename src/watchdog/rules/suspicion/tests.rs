//! Each row of the table of transitions, with made-up times, answers and evidence.

mod late;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::asked::PATIENCE;
use super::*;
use crate::stack::ReturnCount;

const THRESHOLD: Nanos = 100;
const WORKER: StillWorker =
    StillWorker { now: 0, thread: 7, single: false, threshold: THRESHOLD, at_once: false };
/// Where polls return to.
const ADDRESS: u64 = 0x1000;
/// What a counter says that could not count all the time.
const LOST: u64 = u64::MAX;

/// Of the first scan; suspicions begin here.
const START: Nanos = 5_000;
/// When the threshold is over.
const OVER: Nanos = START + THRESHOLD;

/// A [`Step`] that can be compared.
#[derive(Debug, PartialEq)]
enum Seen {
    Nothing,
    Collects,
    Asks,
    CollectsAndAsks,
    Poll(PollEvent),
}

/// A worker that stands still, and what is known of it.
struct Scene {
    suspicion: Suspicion,
    worker: StillWorker,
    evidence: Weighed,
    /// How often the evidence was asked for.
    weighed: usize,
    asked: Option<Arc<PollProof>>,
    /// The breakpoint of the first stack.
    returns: Arc<AtomicU64>,
}

/// What a stack shows.
#[derive(Clone, Copy)]
enum Stack {
    /// No poll.
    Other,
    /// A poll that returns there; the returns are counted, or cannot be.
    Counted(u64),
    Uncounted,
}

impl Scene {
    fn new() -> Self {
        Self {
            suspicion: Suspicion::default(),
            worker: WORKER,
            evidence: Weighed { excused: 0, same_wait: false },
            weighed: 0,
            asked: None,
            returns: Arc::default(),
        }
    }

    /// With a first stack asked for.
    fn asked() -> Self {
        let mut scene = Self::new();
        assert_eq!(scene.scan(START), Seen::Collects);
        assert_eq!(scene.scan(OVER), Seen::Asks);
        scene
    }

    /// With returns counted since the first stack, which was there at `OVER + 10`.
    fn counting() -> Self {
        let mut scene = Self::asked();
        scene.answer(OVER + 10, Stack::Counted(ADDRESS));
        assert_eq!(scene.scan(OVER + 20), Seen::Collects);
        scene.expect("Counting");
        scene
    }

    /// With a second stack asked for.
    fn asked_again() -> Self {
        let mut scene = Self::counting();
        assert_eq!(scene.scan(OVER + 110), Seen::Asks);
        scene.expect("AskedAgain");
        scene
    }

    /// In one poll by the same wait, of which so much was the environment's.
    fn waiting(excused: Nanos, stack: Stack) -> Self {
        let mut scene = Self::asked();
        scene.answer(OVER, stack);
        scene.evidence = Weighed { excused, same_wait: true };
        scene.scan(OVER + 1);
        scene
    }

    fn scan(&mut self, now: Nanos) -> Seen {
        let weigh = |_| {
            self.weighed += 1;
            self.evidence
        };
        match self.suspicion.update(StillWorker { now, ..self.worker }, weigh) {
            Step::Nothing => Seen::Nothing,
            Step::Collect => Seen::Collects,
            Step::Poll(event) => Seen::Poll(event),
            Step::Ask(proof) => {
                self.asked = Some(proof);
                self.expect_question();
                Seen::Asks
            }
            Step::CollectAndAsk(proof) => {
                self.asked = Some(proof);
                self.expect_question();
                Seen::CollectsAndAsks
            }
        }
    }

    fn expect_question(&self) {
        let asked = self.asked.as_ref().expect("something was asked");
        assert_eq!((asked.thread, asked.single), (self.worker.thread, false));
    }

    fn clear(&mut self, moved: bool) -> Option<Nanos> {
        self.suspicion.clear(moved, THRESHOLD)
    }

    fn is_undecided(&self) -> bool {
        self.suspicion.undecided_since().is_some()
    }

    /// The stack that was asked for last is taken, and has no names yet. It seems to be of a poll that
    /// returns there, if that is counted.
    fn sample(&self, at: Nanos, address: Option<u64>) {
        let proof = self.asked.as_ref().expect("something was asked");
        proof.sampled(at, address.map(|address| (address, self.count())));
    }

    /// The stack that was asked for last could not be taken.
    fn fail(&self) {
        self.asked.as_ref().expect("something was asked").not_held();
    }

    fn count(&self) -> ReturnCount {
        let returns = Arc::clone(&self.returns);
        ReturnCount::new(move || Some(returns.load(Relaxed)).filter(|count| *count != LOST))
    }

    /// Answers what was asked last.
    fn answer(&self, at: Nanos, stack: Stack) {
        let proof = self.asked.as_ref().expect("something was asked");
        proof.sampled(at, None);
        let taken = StackResult { missing: Some("its stack"), ..StackResult::default() };
        match stack {
            Stack::Other => proof.not_held(),
            Stack::Uncounted => proof.held(at, taken, ADDRESS, None),
            Stack::Counted(address) => {
                let counted = proof.counted(address);
                let (since, returns) = counted.unwrap_or_else(|| (at, self.count()));
                proof.held(since, taken, address, Some(returns));
            }
        }
    }

    #[track_caller]
    fn expect(&self, name: &str) {
        let state = format!("{:?}", self.suspicion.state);
        assert!(state.starts_with(name), "{state}");
    }

    /// Scans once and expects a rest to begin.
    #[track_caller]
    fn expect_rest(&mut self, now: Nanos) {
        self.expect_rest_undecided(now);
        assert!(!self.is_undecided());
    }

    /// The same with one kept that is over.
    #[track_caller]
    fn expect_rest_undecided(&mut self, now: Nanos) {
        assert_eq!(self.scan(now), Seen::Nothing);
        assert!(matches!(self.suspicion.state, State::Resting { until } if until == now + REST));
    }
}

#[test]
fn a_stack_is_asked_for_once_the_worker_stood_still_for_the_threshold() {
    let mut scene = Scene::new();
    assert!(!scene.is_undecided());
    assert_eq!(scene.scan(START), Seen::Collects);
    scene.expect("Suspected");
    assert_eq!(scene.scan(OVER - 1), Seen::Nothing);
    assert_eq!(scene.scan(OVER), Seen::Asks);
    assert_eq!(scene.scan(OVER + 1), Seen::Nothing, "the answer is awaited");
    scene.expect("Asked");
    assert!(scene.is_undecided());
    assert_eq!(scene.weighed, 0, "evidence costs something");
}

#[test]
fn without_a_proof_the_worker_is_left_alone() {
    for (stack, what) in [(Stack::Other, "in no poll"), (Stack::Uncounted, "no proof can be had")] {
        let mut scene = Scene::asked();
        scene.answer(OVER, stack);
        println!("{what}");
        scene.expect_rest(OVER + 1);
    }
}

#[test]
fn an_answer_that_does_not_come_is_no_and_may_be_late() {
    let mut scene = Scene::asked();
    assert_eq!(scene.scan(OVER + PATIENCE - 1), Seen::Nothing);
    scene.expect("Asked");
    scene.expect_rest(OVER + PATIENCE);
    scene.evidence.same_wait = true;
    scene.answer(OVER + PATIENCE, Stack::Counted(ADDRESS));
    assert_eq!(scene.scan(OVER + PATIENCE + 1), Seen::Nothing);
    scene.expect("Resting");
}

#[test]
fn one_wait_all_the_time_is_a_stall_from_the_begin_of_the_suspicion() {
    let mut scene = Scene::asked();
    scene.answer(OVER + 10, Stack::Uncounted);
    scene.evidence.same_wait = true;
    assert_eq!(scene.scan(OVER + 20), Seen::Poll(PollEvent::Counted(120)));
    scene.expect("Stalled");
    assert_eq!(scene.suspicion.stack().and_then(|stack| stack.missing), Some("its stack"));
    assert!(!scene.is_undecided(), "it is decided");
    assert_eq!(scene.scan(OVER + 99), Seen::Poll(PollEvent::Lasts(199)));
    assert_eq!(scene.scan(OVER + 100), Seen::Poll(PollEvent::Doubled(200)));
    scene.evidence.same_wait = false;
    assert_eq!(scene.scan(OVER + 150), Seen::Poll(PollEvent::Ended(200)), "when last seen");
    scene.expect("Clear");
}

#[test]
fn with_a_breakpoint_a_stall_goes_on_without_evidence_until_a_return() {
    let mut scene = Scene::waiting(0, Stack::Counted(ADDRESS));
    scene.expect("Stalled");
    assert_eq!(scene.weighed, 1);
    scene.evidence.same_wait = false;
    assert_eq!(scene.scan(OVER + 50), Seen::Poll(PollEvent::Lasts(150)), "it woke and goes on");
    assert_eq!(scene.weighed, 1);
    scene.returns.store(1, Relaxed);
    assert_eq!(scene.scan(OVER + 60), Seen::Poll(PollEvent::Ended(150)));
    scene.expect("Clear");
}

#[test]
fn a_breakpoint_that_no_longer_counts_leaves_the_wait_as_proof() {
    let mut scene = Scene::waiting(0, Stack::Counted(ADDRESS));
    scene.returns.store(LOST, Relaxed);
    assert_eq!(scene.scan(OVER + 50), Seen::Poll(PollEvent::Lasts(150)));
    scene.evidence.same_wait = false;
    assert_eq!(scene.scan(OVER + 60), Seen::Poll(PollEvent::Ended(150)));
}

#[test]
fn no_return_between_two_stacks_is_a_stall_from_the_first_of_them() {
    let mut scene = Scene::counting();
    assert_eq!(scene.scan(OVER + 109), Seen::Nothing, "the time started again with the stack");
    assert_eq!(scene.scan(OVER + 110), Seen::Asks);
    assert_eq!(scene.scan(OVER + 120), Seen::Nothing);
    scene.answer(OVER + 125, Stack::Counted(ADDRESS));
    assert_eq!(scene.scan(OVER + 130), Seen::Poll(PollEvent::Counted(120)));
    scene.expect("Stalled");
    scene.returns.store(1, Relaxed);
    assert_eq!(scene.scan(OVER + 140), Seen::Poll(PollEvent::Ended(120)));
}

#[test]
fn a_return_ends_the_counting() {
    for count in [1, LOST] {
        let mut scene = Scene::counting();
        scene.returns.store(count, Relaxed);
        scene.expect_rest(OVER + 30);
        let mut scene = Scene::asked_again();
        scene.returns.store(count, Relaxed);
        scene.expect_rest(OVER + 120);
        // Even where the second stack shows a poll again: it is another one.
        let mut scene = Scene::asked_again();
        scene.answer(OVER + 115, Stack::Counted(ADDRESS));
        scene.returns.store(count, Relaxed);
        scene.expect_rest(OVER + 120);
    }
}

#[test]
fn a_second_stack_that_proves_nothing_ends_the_counting() {
    for stack in [Stack::Other, Stack::Counted(ADDRESS + 1)] {
        let mut scene = Scene::asked_again();
        scene.answer(OVER + 115, stack);
        scene.expect_rest(OVER + 120);
    }
    let mut scene = Scene::asked_again();
    scene.expect_rest(OVER + 110 + PATIENCE);
}

#[test]
fn a_proven_poll_is_a_stall_once_the_share_of_the_program_is() {
    let mut scene = Scene::waiting(40, Stack::Uncounted);
    scene.expect("Proven");
    assert!(scene.is_undecided());
    assert_eq!(scene.scan(OVER + 39), Seen::Poll(PollEvent::None));
    assert_eq!(scene.scan(OVER + 40), Seen::Poll(PollEvent::Counted(140)));
    scene.expect("Stalled");
}

#[test]
fn a_proven_poll_that_was_another_is_no_stall() {
    // The breakpoint is the proof where there is one, else the wait.
    let mut scene = Scene::waiting(40, Stack::Counted(ADDRESS));
    scene.evidence.same_wait = false;
    assert_eq!(scene.scan(OVER + 10), Seen::Poll(PollEvent::None));
    scene.returns.store(1, Relaxed);
    scene.expect_rest(OVER + 20);
    let mut scene = Scene::waiting(40, Stack::Uncounted);
    scene.evidence.same_wait = false;
    scene.expect_rest(OVER + 10);
}

#[test]
fn an_excused_poll_may_turn_out_to_be_a_stall() {
    let mut scene = Scene::waiting(80, Stack::Counted(ADDRESS));
    scene.expect("Excused");
    assert!(scene.suspicion.tracker.is_excused() && scene.is_undecided());
    let weighed = scene.weighed;
    assert_eq!(scene.scan(OVER + 60), Seen::Poll(PollEvent::Lasts(160)));
    assert_eq!(scene.weighed, weighed + 1, "it is looked at again, breakpoint or not");
    assert_eq!(scene.scan(OVER + 80), Seen::Poll(PollEvent::Counted(180)));
    scene.expect("Stalled");
}

#[test]
fn an_excused_poll_ends_as_a_stall_does() {
    let mut scene = Scene::waiting(80, Stack::Uncounted);
    scene.expect("Excused");
    scene.evidence.same_wait = false;
    assert_eq!(scene.scan(OVER + 60), Seen::Poll(PollEvent::Ended(101)));
    scene.expect("Clear");
}

#[test]
fn another_thread_is_suspected_again() {
    let before: [fn() -> Scene; 5] = [
        || {
            let mut scene = Scene::new();
            scene.scan(START);
            scene
        },
        Scene::asked,
        Scene::counting,
        Scene::asked_again,
        || Scene::waiting(40, Stack::Counted(ADDRESS)),
    ];
    for scene in before {
        let mut scene = scene();
        scene.evidence.same_wait = true;
        scene.worker.thread = 8;
        let now = OVER + 200;
        assert_eq!(scene.scan(now), Seen::Collects);
        scene.expect("Suspected");
        // What was found out about the one before is of no use.
        if scene.asked.is_some() {
            scene.answer(now, Stack::Counted(ADDRESS));
        }
        assert_eq!(scene.scan(now + 99), Seen::Nothing);
        assert_eq!(scene.scan(now + 100), Seen::Asks);
    }
}

#[test]
fn a_stall_ends_with_its_thread() {
    for excused in [0, 80] {
        let mut scene = Scene::waiting(excused, Stack::Counted(ADDRESS));
        scene.worker.thread = 8;
        assert_eq!(scene.scan(OVER + 50), Seen::Poll(PollEvent::Ended(101)));
        scene.expect("Clear");
        assert_eq!(scene.scan(OVER + 60), Seen::Collects);
    }
}

#[test]
fn a_worker_that_moves_is_clear_and_a_stall_of_it_over() {
    let scenes = [
        (Scene::new(), None),
        (Scene::asked(), None),
        (Scene::counting(), None),
        (Scene::asked_again(), None),
        (Scene::waiting(40, Stack::Uncounted), None),
        (Scene::waiting(80, Stack::Uncounted), Some(101)),
        (Scene::waiting(0, Stack::Uncounted), Some(101)),
    ];
    for (mut scene, lasted) in scenes {
        for moved in [true, false] {
            assert_eq!(scene.clear(moved), lasted.filter(|_| moved));
            scene.expect("Clear");
        }
        assert!(scene.suspicion.stack().is_none() && !scene.is_undecided());
        assert_eq!(scene.scan(OVER + 500), Seen::Collects);
    }
}

#[test]
fn a_rest_goes_on_when_the_worker_moves() {
    let mut scene = Scene::asked();
    scene.answer(OVER, Stack::Other);
    scene.expect_rest(OVER + 1);
    assert_eq!(scene.clear(true), None);
    assert_eq!(scene.scan(OVER + REST), Seen::Nothing);
    assert_eq!(scene.scan(OVER + 1 + REST), Seen::Collects);
    scene.expect("Suspected");
}

#[test]
fn rests_get_longer_until_the_worker_moves() {
    let mut scene = Scene::new();
    let mut now = START;
    let mut rest = |moved: bool| {
        scene.clear(moved);
        assert_eq!(scene.scan(now), Seen::Collects);
        now += THRESHOLD;
        assert_eq!(scene.scan(now), Seen::Asks);
        scene.answer(now, Stack::Other);
        assert_eq!(scene.scan(now), Seen::Nothing);
        let State::Resting { until } = scene.suspicion.state else { panic!("it rests") };
        let rest = until - now;
        now = until;
        rest / REST
    };
    assert_eq!([rest(false), rest(false), rest(false)], [1, 2, 4]);
    assert_eq!([rest(true), rest(false)], [1, 2]);
    assert_eq!((0..20).map(|_| rest(false)).max(), Some(64));
}
