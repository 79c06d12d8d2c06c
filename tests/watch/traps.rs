//! What looks like a stall and is none, and what hides from a naive look.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use tokio::runtime::{Builder, Handle};
use tokio::task::block_in_place;
use tower_stall::{Cause, Stall, StallDetector};

use crate::support::child;
use crate::support::detector::*;

const MAIN: &str = r#"runtime="main""#;

// (c)

#[test]
fn a_current_thread_runtime_that_nobody_drives_is_neither_stalled_nor_frozen() {
    let runtime = current_thread();
    let stall = detector(&runtime);
    // It ticks while it is driven, so that its ticks are missing afterwards.
    let start = Instant::now();
    runtime.block_on(async { tokio::time::sleep(ms(300)).await });
    let ticks = start.elapsed().div_duration_f64(tower_stall::Builder::DEFAULT_TICK_INTERVAL);
    block(ms(1000));
    let metrics = scrape(&stall);
    metrics.assert_not_frozen(MAIN);
    assert_eq!(metrics.value("tokio_workers_saturated", &[MAIN]), 0.0);
    assert!(
        metrics.value("tokio_event_loop_lag_seconds_count", &[MAIN]) < ticks + 10.0,
        "no lag is made up"
    );
    assert_none(&stall);
    // An open slot proves that somebody drives it.
    runtime.block_on(blocking(&stall, "driven"));
    let seen = the_stall(&stall);
    assert_eq!((&*seen.handler, seen.worker), ("driven", Some(0)));
}

// (d)

#[test]
fn a_worker_that_has_done_nothing_yet_is_not_saturated_and_its_first_poll_counts() {
    let runtime = multi_thread(8);
    let stall = detector(&runtime);
    for _ in 0..8 {
        let seen = stall.clone();
        let first = async move { block_until_shown(&seen, "first", 8) };
        runtime.spawn(stall.watched("first", first));
    }
    wait_for(LIMIT, || {
        // A task that waits behind a blocked worker is taken by one that this wakes.
        runtime.spawn(async {});
        (own(&stall).len() == 8).then_some(())
    });
    let fresh = multi_thread(8);
    stall.watch("fresh", fresh.handle());
    block(ms(400));
    assert_eq!(scrape(&stall).value("tokio_workers_saturated", &[r#"runtime="fresh""#]), 0.0);
}

// (e)

#[test]
fn a_root_future_without_a_worker_counts_only_if_it_is_declared() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    runtime.block_on(stall.watched("undeclared", async { block(ms(400)) }));
    let handle = runtime.handle().clone();
    let foreign = stall.watched("foreign", async { block(ms(400)) });
    std::thread::spawn(move || handle.block_on(foreign)).join().expect("no panic");
    assert_none(&stall);
    let seen_by = stall.clone();
    let root = async move { block_until_shown(&seen_by, "declared", 1) };
    runtime.block_on(stall.watched_root("declared", root));
    let seen = the_stall(&stall);
    assert_eq!((&*seen.handler, seen.worker), ("declared", None));
    let metrics = scrape(&stall);
    metrics.assert_not_frozen(MAIN);
}

// (f)

#[test]
fn block_in_place_that_found_a_thread_is_no_stall() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let task =
        runtime.spawn(stall.watched("in place", async { block_in_place(|| block(ms(600))) }));
    runtime.block_on(task).expect("no panic");
    assert_none(&stall);
}

#[cfg(feature = "capture")]
#[test]
fn stalls_are_found_beside_tasks_that_give_their_workers_away() {
    let runtime = multi_thread(4);
    let stall = detector(&runtime);
    let polls = Polls::default();
    let tasks: Vec<_> = (0..12)
        .map(|_| {
            let polls = polls.clone();
            runtime.spawn(stall.watched("gives away", async move {
                loop {
                    tokio::time::sleep(ms(2)).await;
                    polls.note();
                    block_in_place(|| block(ms(3)));
                }
            }))
        })
        .collect();
    for number in 0..25 {
        let start = Instant::now();
        let is_it = |stall: &Stall| stall.handler == "victim" && stall.in_progress;
        let seen = stall.clone();
        let victim = stall.watched("victim", async move {
            // Somewhere in the middle of the storm.
            tokio::time::sleep(ms(10)).await;
            let start = Instant::now();
            while !seen.stalls().iter().any(is_it) && start.elapsed() < LIMIT {
                block(ms(20));
            }
        });
        runtime.block_on(runtime.spawn(victim)).expect("no panic");
        let took = start.elapsed();
        assert!(took < LIMIT / 2, "stall {number} was found after {took:?}");
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let blamed = own(&stall).into_iter().filter(|stall| stall.handler == "gives away");
    let wrong = polls.wrong(blamed.collect());
    assert!(wrong.is_empty(), "their workers went on meanwhile: {wrong:#?}");
}

#[test]
fn a_storm_of_block_in_place_is_no_stall() {
    let runtime = multi_thread(4);
    let stall = detector(&runtime);
    let polls = Polls::default();
    runtime.block_on(async {
        let storm = (0..120).map(|number| {
            let polls = polls.clone();
            tokio::spawn(stall.watched("storm", async move {
                for _ in 0..4 {
                    polls.note();
                    block_in_place(|| block(ms(120 + number % 7)));
                    tokio::task::yield_now().await;
                }
            }))
        });
        for task in storm.collect::<Vec<_>>() {
            task.await.expect("no panic");
        }
    });
    let wrong = polls.wrong(own(&stall));
    assert!(wrong.is_empty(), "their workers went on meanwhile: {wrong:#?}");
}

/// When polls began, on which worker.
#[derive(Clone, Default)]
struct Polls(Arc<Mutex<Vec<Begun>>>);

struct Begun {
    at: SystemTime,
    worker: Option<usize>,
}

impl Polls {
    /// A poll begins here.
    fn note(&self) {
        let worker = tokio::runtime::worker_index();
        self.0.lock().expect("no panic").push(Begun { at: SystemTime::now(), worker });
    }

    /// Stalls whose worker polled something else while they lasted. On a busy machine the others are right:
    /// a worker stands still until the thread that takes it over has a CPU. Those on a lock are right too:
    /// `block_in_place` takes one of the runtime, and starts threads under it.
    fn wrong(&self, stalls: Vec<Stall>) -> Vec<Stall> {
        // For what lies between two readings of clocks.
        const MARGIN: Duration = ms(5);
        let polls = self.0.lock().expect("no panic");
        let went_on = |stall: &Stall| {
            let during = stall.started_at + MARGIN..stall.started_at + stall.duration - MARGIN;
            polls.iter().any(|poll| poll.worker == stall.worker && during.contains(&poll.at))
        };
        stalls.into_iter().filter(|stall| stall.cause != Cause::Lock && went_on(stall)).collect()
    }
}

#[test]
fn block_in_place_with_no_thread_left_is_a_stall() {
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let stall = detector(&runtime);
    let release = Arc::new(AtomicBool::new(false));
    let (held, running) = (Arc::clone(&release), Arc::new(AtomicBool::new(false)));
    let started = Arc::clone(&running);
    runtime.spawn_blocking(move || {
        started.store(true, Ordering::Release);
        while !held.load(Ordering::Acquire) {
            block(ms(5));
        }
    });
    wait_for(LIMIT, || running.load(Ordering::Acquire).then_some(()));
    let seen = stall.clone();
    let in_place = async move { block_in_place(|| block_until_shown(&seen, "in place", 1)) };
    runtime.block_on(runtime.spawn(stall.watched("in place", in_place))).expect("no panic");
    release.store(true, Ordering::Release);
    let stalls = ended(&stall);
    assert_eq!((stalls.len(), &*stalls[0].handler), (1, "in place"), "{stalls:#?}");
}

#[test]
fn a_thread_that_gave_its_worker_away_is_not_believed_to_have_it() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let inner = stall.watched("inside", async { block(ms(600)) });
    // No label is open outside, so `inner` is the outermost one, on a thread whose
    // `worker_index()` still answers.
    let task = runtime.spawn(async move { block_in_place(|| Handle::current().block_on(inner)) });
    runtime.block_on(task).expect("no panic");
    assert_none(&stall);
}

#[test]
fn what_blocks_before_block_in_place_is_a_stall_that_ends_there() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let seen = stall.clone();
    let (release, is_released) = channel::<()>();
    let task = runtime.spawn(stall.watched("before", async move {
        block_until_shown(&seen, "before", 1);
        block_in_place(|| is_released.recv())
    }));
    // The stall ends when the worker is given away: the task goes on until it is released.
    let before = ended(&stall);
    assert!(!task.is_finished());
    block(ms(500));
    drop(release);
    assert!(runtime.block_on(task).expect("no panic").is_err());
    let after = own(&stall);
    assert_eq!(after.len(), 1, "{after:#?}");
    assert_eq!((after[0].id, after[0].duration), (before[0].id, before[0].duration));
}

#[test]
fn a_thread_that_has_its_worker_back_is_believed_again() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = multi_thread(2);
                let stall = detector(&runtime);
                // Marked polls all the time, so that whoever takes the worker over says so.
                for _ in 0..4 {
                    runtime.spawn(stall.watched("beats", async {
                        loop {
                            tokio::time::sleep(ms(1)).await;
                        }
                    }));
                }
                for repeat in 1..=5 {
                    let seen = stall.clone();
                    let task = runtime.spawn(stall.watched("again", async move {
                        block_in_place(|| block(ms(90)));
                        tokio::task::yield_now().await;
                        block_until_shown(&seen, "again", 1);
                    }));
                    runtime.block_on(task).expect("no panic");
                    let start = Instant::now();
                    while own(&stall).len() != repeat {
                        let found = own(&stall);
                        assert!(found.len() < repeat && start.elapsed() < LIMIT, "{found:#?}");
                        block(ms(5));
                    }
                }
            });
        }
    });
}

// (h)

fn without_timers() -> tokio::runtime::Runtime {
    Builder::new_multi_thread().worker_threads(2).build().expect("a runtime")
}

fn wait_for_ticks(stall: &StallDetector, runtime: &str) {
    let runtime = format!("runtime={runtime:?}");
    let ticks = || scrape(stall).get("tokio_event_loop_lag_seconds_count", &[&*runtime]);
    wait_for(LIMIT, || ticks().filter(|ticks| *ticks > 3.0));
}

/// The panic hook of the process hears of a runtime without timers that was named, and of no other.
#[test]
fn a_runtime_without_timers_is_watched_and_ticks() {
    let runtime = without_timers();
    let heard = std::panic::catch_unwind(|| {
        let _inside = runtime.enter();
        tokio::time::sleep(ms(1))
    });
    assert!(heard.is_err(), "as its user would find out");
    let stall = detector(&runtime);
    runtime.spawn(blocking(&stall, "timeless"));
    assert_eq!(the_stall(&stall).handler, "timeless");
    ended(&stall);
    wait_for_ticks(&stall, "main");
}

/// In a process of its own, of which the hook belongs to the test.
#[test]
fn no_panic_is_heard_of_runtimes_that_were_only_found_and_no_panic_of_others_is_missed() {
    let test = "traps::no_panic_is_heard_of_runtimes_that_were_only_found_and_no_panic_of_others_is_missed";
    child::run(test, &[], || {
        let (heard, heard_of_ours) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        std::panic::set_hook(Box::new({
            let (heard, ours) = (Arc::clone(&heard), Arc::clone(&heard_of_ours));
            move |panic| {
                let is_ours = panic.payload().downcast_ref::<&str>() == Some(&"of the test");
                if is_ours { &ours } else { &heard }.fetch_add(1, Relaxed);
            }
        }));
        let main = multi_thread(2);
        let stall = detector(&main);
        let over = AtomicBool::new(false);
        let panics = std::thread::scope(|scope| {
            let panicking = scope.spawn(|| {
                let mut panics = 0;
                while !over.load(Relaxed) {
                    drop(std::panic::catch_unwind(|| panic!("of the test")));
                    panics += 1;
                }
                panics
            });
            for _ in 0..100 {
                let found = without_timers();
                found.block_on(found.spawn(stall.watched("found", async {}))).expect("no panic");
            }
            over.store(true, Relaxed);
            panicking.join().expect("no panic of its own")
        });
        assert_eq!(heard_of_ours.load(Relaxed), panics);
        let found = without_timers();
        found.spawn(blocking(&stall, "found"));
        wait_for_ticks(&stall, &the_stall(&stall).runtime);
        assert_eq!(heard.load(Relaxed), 0);
    });
}

// (i)

fn paused() -> tokio::runtime::Runtime {
    Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime")
}

/// Virtual time that passes while the runtime waits for another thread.
fn virtual_time(runtime: &tokio::runtime::Runtime, real: Duration) -> Duration {
    runtime.block_on(async move {
        let (done, wait) = tokio::sync::oneshot::channel();
        let start = tokio::time::Instant::now();
        std::thread::spawn(move || {
            block(real);
            done.send(()).expect("somebody waits");
        });
        wait.await.expect("it is sent");
        start.elapsed()
    })
}

#[test]
fn a_clock_that_starts_paused_moves_no_more_than_without_us() {
    let without = virtual_time(&paused(), ms(500));
    let runtime = paused();
    let stall = detector(&runtime);
    assert_eq!(virtual_time(&runtime, ms(1500)), without);
    assert_eq!(scrape(&stall).get("tokio_event_loop_heartbeat_age_seconds", &[MAIN]), None);
    // Stalls are still found: slots know no clock.
    runtime.block_on(blocking(&stall, "paused"));
    assert_eq!(the_stall(&stall).handler, "paused");
}

#[test]
fn a_clock_that_is_paused_later_moves_by_one_tick_at_most() {
    let runtime = current_thread();
    let stall = detector(&runtime);
    runtime.block_on(async { tokio::time::sleep(ms(400)).await });
    assert!(scrape(&stall).value("tokio_event_loop_lag_seconds_count", &[MAIN]) > 0.0, "it ticked");
    runtime.block_on(async { tokio::time::pause() });
    let moved = virtual_time(&runtime, ms(1500));
    // Tokio's timers round up to a millisecond, at both ends.
    assert!(moved <= tower_stall::Builder::DEFAULT_TICK_INTERVAL + ms(2), "{moved:?}");
    assert_none(&stall);
}

#[test]
fn disconnects_and_aborts_are_no_stall() {
    let runtime = multi_thread(2);
    let stall = detector(&runtime);
    let polls = Arc::new(AtomicUsize::new(0));
    runtime.block_on(async {
        for _ in 0..200 {
            let polls = Arc::clone(&polls);
            let task = tokio::spawn(stall.watched("aborted", async move {
                polls.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(ms(500)).await;
            }));
            tokio::task::yield_now().await;
            task.abort();
            drop(task.await);
        }
    });
    block(ms(300));
    assert_none(&stall);
}
