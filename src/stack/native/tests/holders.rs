//! Threads that hold what others wait for, and threads that only look as if they did.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Condvar, Mutex, Once, RwLock};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use super::support::{FOREVER, is_alone};
use crate::clock;
use crate::procfs::thread::{ThreadSample, ThreadState};
use crate::stack::Capture;
use crate::stack::native::Taker;
use crate::stack::raw::RawHolding;
use crate::stall::{Degree, Holder, HoldingRole};
use crate::sys::{futex_wait, thread_id};

/// Much shorter than the tests take.
const NAP: Duration = Duration::from_secs(3600);

/// A thread that says who it is, and goes on for ever or until its channel ends.
pub(super) struct Player {
    pub(super) id: u32,
    _thread: JoinHandle<()>,
}

/// Starts a thread. It is left behind where it waits for ever: the process of the tests ends with it.
pub(super) fn play(name: &str, run: impl FnOnce(&dyn Fn()) + Send + 'static) -> Player {
    let (tell, told) = channel();
    let thread = Builder::new().name(name.to_owned()).spawn(move || {
        run(&|| tell.send(thread_id()).expect("the test listens"));
    });
    let thread = thread.expect("a thread");
    let id = told.recv_timeout(FOREVER).expect("it says who it is");
    Player { id, _thread: thread }
}

/// Waits until the thread waits in a futex, for ever.
pub(super) fn waits(player: &Player) {
    until(|| match ThreadSample::take(player.id).now {
        ThreadState::Call { number, arguments, .. } => {
            futex_wait(number, &arguments).is_some() && arguments[3] == 0
        }
        _ => false,
    });
}

/// Waits until the thread is in a system call.
pub(super) fn stays(player: &Player) {
    until(|| matches!(ThreadSample::take(player.id).now, ThreadState::Call { .. }));
}

fn until(holds: impl Fn() -> bool) {
    let deadline = clock::now() + clock::nanos(FOREVER);
    while !holds() {
        assert!(clock::now() < deadline, "it does not come to it");
        std::thread::yield_now();
    }
}

/// Who it is, where the search finds all threads as they stand. Other tests run beside this one, so that
/// some may be left out.
fn ask(waiter: &Player) -> RawHolding {
    ask_in(Capture::NoSignal, waiter)
}

/// The same, asked until somebody is found. On a busy machine a look at the threads of all tests may end before it
/// comes to the one that counts.
fn found(waiter: &Player) -> RawHolding {
    found_in(Capture::NoSignal, waiter)
}

fn found_in(mode: Capture, waiter: &Player) -> RawHolding {
    let deadline = clock::now() + clock::nanos(FOREVER);
    loop {
        let holding = ask_in(mode, waiter);
        if holding.holder != Holder::Unknown || clock::now() > deadline {
            return holding;
        }
    }
}

fn ask_in(mode: Capture, waiter: &Player) -> RawHolding {
    waits(waiter);
    let found = Taker::new(mode).holding(waiter.id, &|| true, &mut || true);
    found.expect("nothing else is to be done").expect("it waits")
}

#[inline(never)]
pub(super) fn hold_and_sleep<T>(lock: &Mutex<T>, tell: &dyn Fn()) {
    let guard = lock.lock().expect("no panic");
    tell();
    std::thread::sleep(NAP);
    drop(guard);
}

/// Knows the lock, and has had it.
#[inline(never)]
fn know_and_sleep<T>(lock: &Mutex<T>, tell: &dyn Fn()) {
    drop(lock.lock().expect("no panic"));
    tell();
    std::thread::sleep(NAP);
    std::hint::black_box(lock);
}

pub(super) fn is_held_by(holding: &RawHolding, holder: &Player) {
    assert_eq!(holding.holder, Holder::OtherThread, "{holding:?}");
    assert_eq!(holding.degree, Degree::Certain);
    assert_eq!(holding.threads[0].stack.thread, holder.id);
    assert!(holding.threads[0].waits_in.is_some());
}

#[test]
fn a_mutex_has_its_holder_among_threads_that_know_it() {
    let lock = Arc::new(Mutex::new(5_u64));
    let decoy = |_| {
        let lock = Arc::clone(&lock);
        let decoy = play("decoy", move |tell| know_and_sleep(&lock, tell));
        stays(&decoy);
        decoy
    };
    let _decoys: Vec<_> = (0..3).map(decoy).collect();
    let of_holder = Arc::clone(&lock);
    let holder = play("holder", move |tell| hold_and_sleep(&of_holder, tell));
    stays(&holder);
    let _more: Vec<_> = (0..3)
        .map(|_| {
            let lock = Arc::clone(&lock);
            play("late", move |tell| {
                tell();
                drop(lock.lock());
            })
        })
        .collect();
    let waiter = play("waiter", move |tell| {
        tell();
        drop(lock.lock());
    });
    for _ in 0..5 {
        is_held_by(&found(&waiter), &holder);
    }
}

#[test]
fn a_lock_that_its_waiter_holds_already() {
    let lock = Arc::new(Mutex::new(()));
    #[inline(never)]
    fn inner(lock: &Mutex<()>) {
        drop(lock.lock());
    }
    #[inline(never)]
    fn outer(lock: &Mutex<()>, tell: &dyn Fn()) {
        let guard = lock.lock();
        tell();
        inner(lock);
        drop(guard);
    }
    let waiter = play("waiter", move |tell| outer(&lock, tell));
    let holding = found(&waiter);
    assert_eq!((holding.holder, holding.degree), (Holder::SameThread, Degree::Certain));
}

/// The waiter knows the lock in each of its frames, and another thread holds it.
#[test]
fn a_waiter_that_only_knows_its_lock_does_not_hold_it() {
    let lock = Arc::new(Mutex::new(vec![1]));
    let of_holder = Arc::clone(&lock);
    let holder = play("holder", move |tell| hold_and_sleep(&of_holder, tell));
    stays(&holder);
    #[inline(never)]
    fn outer(lock: &Mutex<Vec<i32>>, tell: &dyn Fn()) -> usize {
        tell();
        let length = lock.lock().map_or(0, |list| list.len());
        std::hint::black_box(lock);
        length
    }
    let waiter = play("waiter", move |tell| {
        outer(&lock, tell);
    });
    is_held_by(&found(&waiter), &holder);
}

#[test]
fn a_reader_keeps_writers_and_a_writer_keeps_both() {
    for reads in [true, false] {
        let lock = Arc::new(RwLock::new(String::from("a")));
        let of_holder = Arc::clone(&lock);
        let holder = play("holder", move |tell| {
            if reads {
                let guard = of_holder.read();
                tell();
                std::thread::sleep(NAP);
                drop(guard);
            } else {
                let guard = of_holder.write();
                tell();
                std::thread::sleep(NAP);
                drop(guard);
            }
        });
        stays(&holder);
        let of_writer = Arc::clone(&lock);
        let writer = play("writer", move |tell| {
            tell();
            drop(of_writer.write());
        });
        is_held_by(&found(&writer), &holder);
        let reader = play("reader", move |tell| {
            tell();
            drop(lock.read());
        });
        is_held_by(&found(&reader), &holder);
    }
}

#[test]
fn a_thread_that_is_joined_is_known() {
    let sleeper = play("sleeper", |tell| {
        tell();
        std::thread::sleep(NAP);
    });
    let id = sleeper.id;
    let waiter = play("waiter", move |tell| {
        tell();
        let _ = sleeper._thread.join();
    });
    let holding = found(&waiter);
    assert_eq!((holding.holder, holding.degree), (Holder::OtherThread, Degree::Certain));
    assert_eq!(holding.threads[0].stack.thread, id);
    assert_eq!(holding.threads[0].role, HoldingRole::IsJoined);
    assert_eq!(holding.threads[0].name.as_deref(), Some("sleeper"));
}

/// Computes until the process of the tests ends, or the flag is set.
#[inline(never)]
fn compute(ends: &AtomicBool) -> u64 {
    let mut sum = 1_u64;
    while !ends.load(Ordering::Relaxed) {
        sum = sum.wrapping_mul(31) | 1;
    }
    assert_ne!(std::hint::black_box(sum), 0);
    sum
}

#[test]
fn a_holder_that_computes_is_stopped_if_it_has_the_name_of_the_waiter() {
    // A look at all that others leave behind may take its time before the one that computes is stopped.
    if !is_alone("holders::a_holder_that_computes_is_stopped_if_it_has_the_name_of_the_waiter") {
        return;
    }
    for (name, mode, is_found) in [
        ("worker", Capture::Auto, true),
        ("other", Capture::Auto, false),
        ("worker", Capture::NoSignal, false),
    ] {
        let (lock, ends) = (Arc::new(Mutex::new(5_u64)), Arc::new(AtomicBool::new(false)));
        let (of_holder, of_test) = (Arc::clone(&lock), Arc::clone(&ends));
        let holder = play(name, move |tell| {
            let guard = of_holder.lock();
            tell();
            std::hint::black_box(compute(&ends));
            drop(guard);
        });
        let waiter = play("worker", move |tell| {
            tell();
            drop(lock.lock());
        });
        let holding = match is_found {
            true => found_in(mode, &waiter),
            false => ask_in(mode, &waiter),
        };
        of_test.store(true, Ordering::Relaxed);
        if is_found {
            assert_eq!((holding.holder, holding.degree), (Holder::OtherThread, Degree::Certain));
            assert_eq!(holding.threads[0].stack.thread, holder.id);
            assert!(holding.threads[0].stack.frames.len() > 1 && holding.threads.len() == 1);
            assert_eq!(holding.threads[0].waits_in, None);
        } else {
            assert_eq!(holding.holder, Holder::Unknown, "{holding:?}");
            assert!(holding.threads_left_out > 0);
        }
    }
}

#[test]
fn an_initialiser_is_known() {
    static ONCE: Once = Once::new();
    let initialiser = play("initialiser", |tell| {
        ONCE.call_once(|| {
            tell();
            std::thread::sleep(NAP);
        });
    });
    stays(&initialiser);
    let waiter = play("waiter", |tell| {
        tell();
        ONCE.call_once(|| {});
    });
    let holding = found(&waiter);
    is_held_by(&holding, &initialiser);
    assert_eq!(holding.threads[0].role, HoldingRole::Initialises);
}

/// Locks the first, then, when all have theirs, the second.
fn chained(first: &Arc<Mutex<u8>>, second: &Arc<Mutex<u8>>, all: &Arc<Barrier>) -> Player {
    let (first, second, all) = (Arc::clone(first), Arc::clone(second), Arc::clone(all));
    play("link", move |tell| {
        let guard = first.lock();
        tell();
        all.wait();
        drop(second.lock());
        drop(guard);
    })
}

#[test]
fn threads_that_wait_for_one_another_are_a_deadlock() {
    let (first, second) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    let all = Arc::new(Barrier::new(2));
    let one = chained(&first, &second, &all);
    let other = chained(&second, &first, &all);
    waits(&other);
    let holding = found(&one);
    assert_eq!((holding.holder, holding.degree), (Holder::Deadlock, Degree::Certain));
    let threads: Vec<_> = holding.threads.iter().map(|thread| thread.stack.thread).collect();
    assert_eq!(threads, [other.id, one.id]);
}

#[test]
fn a_chain_ends_with_who_sleeps() {
    let (first, second) = (Arc::new(Mutex::new(1)), Arc::new(Mutex::new(2)));
    let of_last = Arc::clone(&second);
    let last = play("last", move |tell| hold_and_sleep(&of_last, tell));
    let middle = chained(&first, &second, &Arc::new(Barrier::new(1)));
    waits(&middle);
    let waiter = play("waiter", move |tell| {
        tell();
        drop(first.lock());
    });
    let holding = found(&waiter);
    is_held_by(&holding, &middle);
    let threads: Vec<_> = holding.threads.iter().map(|thread| thread.stack.thread).collect();
    assert_eq!(threads, [middle.id, last.id]);
}

/// The guard is nowhere, as it is while a task is suspended; others know the lock.
#[test]
fn a_guard_that_no_thread_has_is_no_thread_s() {
    let lock = Arc::new(Mutex::new(0_u32));
    std::mem::forget(lock.lock());
    let knows = Arc::clone(&lock);
    let decoy = play("decoy", move |tell| {
        let lock: &Mutex<u32> = &knows;
        drop(lock.try_lock());
        tell();
        std::thread::sleep(NAP);
        std::hint::black_box(lock);
    });
    stays(&decoy);
    let waiter = play("waiter", move |tell| {
        tell();
        drop(lock.lock());
    });
    for _ in 0..5 {
        let holding = ask(&waiter);
        assert!(holding.threads.is_empty(), "{holding:?}");
        // Other tests run beside this one, and some of their threads compute.
        let known = [(Holder::NoThread, Degree::Likely), (Holder::Unknown, Degree::Unknown)];
        assert!(known.contains(&(holding.holder, holding.degree)), "{holding:?}");
    }
}

#[test]
fn what_nobody_holds_is_unknown() {
    let pair = Arc::new((Mutex::new(false), Condvar::new()));
    let waiter = play("waiter", move |tell| {
        let (lock, condition) = &*pair;
        let guard = lock.lock().expect("no panic");
        tell();
        drop(condition.wait_while(guard, |done| !*done));
    });
    assert_eq!(ask(&waiter).holder, Holder::Unknown);
    let (_keep, never): (Sender<()>, Receiver<()>) = channel();
    let waiter = play("receiver", move |tell| {
        tell();
        let _ = never.recv();
    });
    let holding = ask(&waiter);
    assert_eq!((holding.holder, holding.degree), (Holder::Unknown, Degree::Unknown));
}
