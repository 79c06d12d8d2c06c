//! Looks for the holder of a lock, beside the stacks that the same thread takes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};

use super::holders::{Player, hold_and_sleep, is_held_by, play, stays, waits};
use super::support::FOREVER;
use crate::stack::inbox::{LookRequest, StackRequest};
use crate::stack::raw::{Captured, RawHolding};
use crate::stack::{Capture, Sampler};
use crate::stall::StackOutcome;
use crate::sync::lock;

/// What the thread that takes stacks has answered, in order.
#[derive(Debug)]
enum Answer {
    Stack(Captured),
    Holder(RawHolding),
}

/// A lock that one thread holds and another one waits for.
fn held() -> (Player, Player) {
    let lock = Arc::new(Mutex::new(5_u64));
    let of_holder = Arc::clone(&lock);
    let holder = play("holder", move |tell| hold_and_sleep(&of_holder, tell));
    stays(&holder);
    let waiter = play("waiter", move |tell| {
        tell();
        drop(lock.lock());
    });
    waits(&waiter);
    (holder, waiter)
}

fn stack(sampler: &Sampler, thread: u32, tell: &Sender<Answer>) {
    let tell = tell.clone();
    let done = move |captured| tell.send(Answer::Stack(captured)).expect("the test listens");
    let job = StackRequest { thread, still: Box::new(|| true), done: Box::new(done) };
    assert!(sampler.ask(job).is_ok(), "the queue has room");
}

/// Asks who holds what the waiter waits for. `begins` is called whenever a look begins or ends.
fn look(
    sampler: &Sampler,
    waiter: &Player,
    tell: Sender<Answer>,
    begins: impl Fn() -> bool + Send + 'static,
) {
    let told = move |holding| tell.send(Answer::Holder(holding)).expect("the test listens");
    sampler.look(LookRequest::new(waiter.id, Box::new(begins), Box::new(told)));
}

/// A look during which a stack is wanted, so many times.
fn interrupted(times: usize) -> (Player, Receiver<Answer>) {
    let (holder, waiter) = held();
    let sampler = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    let sampler: &'static Sampler = Box::leak(Box::new(sampler));
    let (tell, answers) = channel();
    let (of_stacks, wanted, thread) = (tell.clone(), AtomicUsize::new(0), waiter.id);
    look(sampler, &waiter, tell, move || {
        if wanted.fetch_add(1, Ordering::Relaxed) < times {
            stack(sampler, thread, &of_stacks);
        }
        true
    });
    (holder, answers)
}

#[test]
fn a_stack_that_is_wanted_during_a_look_comes_first() {
    let (holder, answers) = interrupted(2);
    for _ in 0..2 {
        let answer = answers.recv_timeout(FOREVER).expect("an answer");
        let Answer::Stack(captured) = answer else { panic!("{answer:?}") };
        assert_eq!(captured.outcome, StackOutcome::Ok);
    }
    let answer = answers.recv_timeout(FOREVER).expect("an answer");
    let Answer::Holder(holding) = answer else { panic!("{answer:?}") };
    is_held_by(&holding, &holder);
}

#[test]
fn a_look_is_given_up_in_the_end() {
    let (_holder, answers) = interrupted(usize::MAX);
    for _ in 0..3 {
        let answer = answers.recv_timeout(FOREVER).expect("an answer");
        assert!(matches!(answer, Answer::Stack(_)), "{answer:?}");
    }
    // Who would tell it was dropped.
    assert_eq!(answers.recv_timeout(FOREVER).map(|_| ()), Err(RecvTimeoutError::Disconnected));
}

#[test]
fn not_too_many_looks_wait() {
    let (holder, waiter) = held();
    let sampler = Sampler::spawn(Capture::NoSignal, Arc::default()).expect("a thread");
    let (tell, answers) = channel();
    let (go_on, held) = channel::<()>();
    // All that follows is wanted while this one is taken.
    let job = StackRequest {
        thread: waiter.id,
        still: Box::new(|| true),
        done: Box::new(move |_| assert!(held.recv_timeout(FOREVER).is_err())),
    };
    assert!(sampler.ask(job).is_ok(), "the queue has room");
    (0..4).for_each(|_| look(&sampler, &waiter, tell.clone(), || false));
    let places: Arc<Mutex<BTreeSet<usize>>> = Arc::default();
    for number in 0..12 {
        let places = Arc::clone(&places);
        // It waits for no other thread, so that there is little to look at.
        look(&sampler, &holder, tell.clone(), move || {
            lock(&places).insert(number);
            true
        });
    }
    (0..3).for_each(|_| stack(&sampler, waiter.id, &tell));
    drop((go_on, tell));
    let answers: Vec<_> = answers.iter().collect();
    assert!(answers.iter().all(|answer| matches!(answer, Answer::Stack(_))), "{answers:?}");
    assert_eq!(answers.len(), 3);
    let places = lock(&places).clone();
    assert_eq!(places, BTreeSet::from_iter(0..8), "those that find a place, of polls that last");
    assert_eq!(sampler.end(FOREVER), Ok(()));
}
