//! Who holds the lock that a stall waits for: locks of all kinds, held in all places, among threads that
//! know the lock and do not hold it. A holder may stay unknown; a wrong one fails.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use tokio::runtime::Runtime;
use tower_stall::{Degree, HeldBy, Holder, HoldingRole, Stall, StallDetector};

const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
/// How long a stall lasts of which nobody is named: it is looked at some times until then.
const UNKNOWN_FOR: Duration = Duration::from_secs(1);
/// Each case runs so many times.
const ROUNDS: usize = 3;

/// One case at a time: others' threads are none of its.
static ONE: Mutex<()> = Mutex::new(());

/// A runtime with a detector, and threads that know a lock.
struct Stage {
    /// Ends the threads of the case.
    keep: Vec<Sender<()>>,
    stall: StallDetector,
    runtime: LeftBehind,
    threads: Vec<JoinHandle<()>>,
    _one: MutexGuard<'static, ()>,
}

/// A runtime that nobody waits for: where a check has failed, its workers may be deadlocked.
struct LeftBehind(Option<Runtime>);

impl std::ops::Deref for LeftBehind {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("until it is dropped")
    }
}

impl Drop for LeftBehind {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Stage {
    fn new() -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build();
        let runtime = LeftBehind(Some(runtime.expect("a runtime")));
        let builder = StallDetector::builder().capture_cpu_percent(100).log_check(false);
        let stall = runtime.block_on(async { builder.start() }).expect("a detector");
        Self { keep: Vec::new(), stall, runtime, threads: Vec::new(), _one: one }
    }

    /// What a holder waits for until the case is over. The other end says that it holds the lock.
    fn cue(&mut self) -> (Cue, Receiver<()>) {
        let (keep, until) = channel();
        let (say, said) = channel();
        self.keep.push(keep);
        (Cue { say, until }, said)
    }

    /// Runs on a thread of its own, until the cue says that it is where it should be.
    fn thread(&mut self, run: impl FnOnce(Cue) + Send + 'static) {
        let (cue, said) = self.cue();
        let thread = Builder::new().name("holder".into()).spawn(move || run(cue));
        self.threads.push(thread.expect("a thread"));
        said.recv_timeout(LIMIT).expect("it comes to it");
    }

    /// Runs on a worker, under that label, until the cue says that it is where it should be.
    fn worker(&mut self, label: &'static str, run: impl FnOnce(Cue) + Send + 'static) {
        let (cue, said) = self.cue();
        self.runtime.spawn(self.stall.watched(label, async move { run(cue) }));
        said.recv_timeout(LIMIT).expect("it comes to it");
    }

    /// Blocks a worker, and returns who holds what it waits for.
    fn wait(&self, run: impl FnOnce() + Send + 'static) -> HeldBy {
        self.blocks(run);
        self.held_by("waiter")
    }

    /// Blocks a worker, and returns what is said of who holds what it waits for, if nobody is found.
    fn wait_in_vain(&self, run: impl FnOnce() + Send + 'static) -> HeldBy {
        self.blocks(run);
        self.in_vain("waiter")
    }

    fn in_vain(&self, label: &str) -> HeldBy {
        self.says(label, |stall, held_by| is_known(held_by) || stall.duration > UNKNOWN_FOR)
    }

    fn blocks(&self, run: impl FnOnce() + Send + 'static) {
        self.runtime.spawn(self.stall.watched("waiter", async move { run() }));
    }

    /// Who holds what a stall waits for, once that is found.
    fn held_by(&self, label: &str) -> HeldBy {
        self.says(label, |_, held_by| is_known(held_by))
    }

    fn says(&self, label: &str, is_it: impl Fn(&Stall, &HeldBy) -> bool) -> HeldBy {
        let begin = Instant::now();
        loop {
            let stalls = self.stall.stalls();
            let stall = stalls.iter().find(|stall| stall.handler == label);
            if let Some(stall) = stall
                && let Some(held_by) = stall.held_by.clone()
                && is_it(stall, &held_by)
            {
                return held_by;
            }
            assert!(begin.elapsed() < LIMIT, "{stalls:#?}");
            sleep(PAUSE);
        }
    }

    fn end(self) {
        drop(self.keep);
        self.threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        let runtime = { self.runtime }.0.take();
        runtime.expect("until it is dropped").shutdown_timeout(LIMIT);
    }
}

fn is_known(held_by: &HeldBy) -> bool {
    held_by.degree != Degree::Unknown
}

struct Cue {
    say: Sender<()>,
    until: Receiver<()>,
}

impl Cue {
    /// Says that all is as it should be, and stays until the case is over.
    #[inline(never)]
    fn stay(self) {
        self.say.send(()).expect("the case goes on");
        let _ = self.until.recv();
    }
}

/// What must have been found.
#[track_caller]
fn check(held_by: &HeldBy, handler: Option<&str>, function: &str) {
    assert_eq!(held_by.holder, Holder::OtherThread, "{held_by:#?}");
    assert_eq!(held_by.degree, Degree::Certain);
    println!("{held_by}");
    let thread = &held_by.threads[0];
    assert_eq!(thread.handler.as_deref(), handler, "{held_by:#?}");
    let site = thread.site.as_ref().expect("own code is on its stack");
    let frames = thread.stack.as_ref().expect("a stack").to_string();
    assert!(frames.contains(function), "{site}\n{frames}");
}

/// Threads that have the address of what they are given on their stacks, after all calls with it.
fn decoys<T: Send + Sync + 'static>(stage: &mut Stage, known: &Arc<T>, touch: fn(&T)) {
    for _ in 0..3 {
        let known = Arc::clone(known);
        stage.thread(move |cue| {
            let inner: &T = &known;
            touch(inner);
            knows(inner, cue);
        });
    }
}

#[inline(never)]
fn knows<T>(known: &T, cue: Cue) {
    let copies = std::hint::black_box([known; 8]);
    cue.stay();
    std::hint::black_box(copies);
}

/// A lock of some kind.
trait Lock: Send + Sync + 'static {
    fn make() -> Self;
    /// Takes it for a moment.
    fn touch(&self);
    /// Holds it until the case is over.
    fn hold(&self, cue: Cue);
    /// Waits for it.
    fn wait(&self);
}

macro_rules! lock {
    ($kind:ident, $inner:ty = $make:expr, $lock:ident => $hold:expr, $wait:expr) => {
        struct $kind($inner);

        impl Lock for $kind {
            fn make() -> Self {
                Self($make)
            }

            fn touch(&self) {
                let $lock = &self.0;
                drop($hold);
            }

            #[inline(never)]
            fn hold(&self, cue: Cue) {
                let $lock = &self.0;
                let guard = $hold;
                cue.stay();
                drop(guard);
            }

            #[inline(never)]
            fn wait(&self) {
                let $lock = &self.0;
                drop($wait);
            }
        }
    };
}

lock!(StdMutex, Mutex<u64> = Mutex::new(7), lock => lock.lock(), lock.lock());
lock!(StdRead, RwLock<u8> = RwLock::new(7), lock => lock.read(), lock.write());
lock!(StdWrite, RwLock<u8> = RwLock::new(7), lock => lock.write(), lock.read());
lock!(StdWriters, RwLock<u8> = RwLock::new(7), lock => lock.write(), lock.write());
lock!(ParkingMutex, parking_lot::Mutex<u64> = Default::default(), lock => lock.lock(), lock.lock());
lock!(ParkingRead, parking_lot::RwLock<u64> = Default::default(), lock => lock.read(), lock.write());
lock!(ParkingWrite, parking_lot::RwLock<u64> = Default::default(), lock => lock.write(), lock.read());
lock!(ParkingWriters, parking_lot::RwLock<u64> = Default::default(), lock => lock.write(), lock.write());
lock!(DashRead, DashMap<u8, u8> = DashMap::from_iter([(1, 1)]), map => map.get(&1), map.get_mut(&1));
lock!(DashWrite, DashMap<u8, u8> = DashMap::from_iter([(1, 1)]), map => map.get_mut(&1), map.get(&1));
lock!(DashWriters, DashMap<u8, u8> = DashMap::from_iter([(1, 1)]), map => map.get_mut(&1), map.get_mut(&1));

fn found<L: Lock>() {
    for round in 0..ROUNDS {
        let mut stage = Stage::new();
        let lock = Arc::new(L::make());
        decoys(&mut stage, &lock, L::touch);
        let of_holder = Arc::clone(&lock);
        let run = move |cue| of_holder.hold(cue);
        let handler = if round % 2 == 0 {
            stage.thread(run);
            None
        } else {
            stage.worker("holder", run);
            Some("holder")
        };
        decoys(&mut stage, &lock, |_| {});
        // A second one waits already.
        let of_first = Arc::clone(&lock);
        stage.runtime.spawn(stage.stall.watched("first", async move { of_first.wait() }));
        check(&stage.held_by("first"), handler, "hold");
        check(&stage.wait(move || lock.wait()), handler, "hold");
        stage.end();
    }
}

#[test]
fn mutexes_of_std() {
    found::<StdMutex>();
}

#[test]
fn readers_and_writers_of_std() {
    found::<StdRead>();
    found::<StdWrite>();
    found::<StdWriters>();
}

#[test]
fn mutexes_of_parking_lot() {
    found::<ParkingMutex>();
}

#[test]
fn readers_and_writers_of_parking_lot() {
    found::<ParkingRead>();
    found::<ParkingWrite>();
    found::<ParkingWriters>();
}

#[test]
fn shards_of_dashmap() {
    found::<DashRead>();
    found::<DashWrite>();
    found::<DashWriters>();
}

#[test]
fn the_documentation_shows_what_is_told() {
    let stage = Stage::new();
    let reports: &'static Mutex<Vec<String>> = Box::leak(Box::default());
    let render = async { tower_stall_holders::report::render(reports) };
    stage.runtime.spawn(stage.stall.watched("GET /report", render));
    let begin = Instant::now();
    while reports.try_lock().is_ok() {
        assert!(begin.elapsed() < LIMIT, "it comes to it");
        sleep(PAUSE);
    }
    let held_by = stage.wait(|| drop(reports.lock()));
    let documentation = include_str!("../../../docs/fix/lock.md");
    assert!(documentation.contains(&format!(" waits: {held_by}\n")), "{held_by}");
    // Its thread would look like one that the next case waits for.
    stage.end();
}

#[test]
fn the_documentation_shows_what_is_told_of_a_pool() {
    let stage = Stage::new();
    let held_by = stage.wait(|| drop(tower_stall_holders::proof::prove(&two_threads())));
    let documentation = include_str!("../../../docs/fix/lock.md");
    assert!(documentation.contains(&format!(" waits: {held_by}\n")), "{held_by}");
    // Its thread would look like one that the next case waits for.
    stage.end();
}

#[test]
fn a_holder_in_spawn_blocking() {
    let mut stage = Stage::new();
    let lock = Arc::new(StdMutex::make());
    let (cue, said) = stage.cue();
    let of_holder = Arc::clone(&lock);
    stage.runtime.spawn_blocking(move || of_holder.hold(cue));
    said.recv_timeout(LIMIT).expect("it comes to it");
    check(&stage.wait(move || lock.wait()), None, "hold");
    stage.end();
}

/// Holds the lock and computes, in a function that may panic as most do.
#[inline(never)]
fn hold_and_compute(lock: &StdMutex, goes_on: &AtomicBool, say: &Sender<()>) {
    let guard = lock.0.lock();
    say.send(()).expect("the case goes on");
    std::hint::black_box(compute(goes_on));
    drop(guard);
}

/// Has held the lock, and knows it while it computes.
#[inline(never)]
fn know_and_compute(lock: &StdMutex, goes_on: &AtomicBool, say: &Sender<()>) {
    lock.touch();
    say.send(()).expect("the case goes on");
    std::hint::black_box(compute(goes_on));
    std::hint::black_box(lock);
}

#[inline(never)]
fn compute(goes_on: &AtomicBool) -> u64 {
    let mut sum = 1_u64;
    while goes_on.load(Ordering::Acquire) {
        sum = sum.wrapping_mul(31).wrapping_add(7) | 1;
    }
    assert_ne!(std::hint::black_box(sum), 0);
    sum
}

#[test]
fn a_holder_that_computes() {
    for round in 0..2 * ROUNDS {
        let mut stage = Stage::new();
        let lock = Arc::new(StdMutex::make());
        let goes_on = Arc::new(AtomicBool::new(true));
        let computes = |run: fn(&StdMutex, &AtomicBool, &Sender<()>)| {
            let (lock, goes_on) = (Arc::clone(&lock), Arc::clone(&goes_on));
            move |Cue { say, until: _ }| run(&lock, &goes_on, &say)
        };
        stage.worker("knows", computes(know_and_compute));
        let run = computes(hold_and_compute);
        let handler = if round % 2 == 0 {
            stage.worker("holder", run);
            Some("holder")
        } else {
            let (cue, said) = stage.cue();
            stage.runtime.spawn_blocking(move || run(cue));
            said.recv_timeout(LIMIT).expect("it comes to it");
            None
        };
        decoys(&mut stage, &lock, |_| {});
        let held_by = stage.wait(move || lock.wait());
        check(&held_by, handler, "hold_and_compute");
        assert_eq!(held_by.threads[0].waits_in, None);
        assert_eq!(held_by.threads.len(), 1, "{held_by:#?}");
        goes_on.store(false, Ordering::Release);
        stage.end();
    }
}

#[test]
fn a_thread_that_is_joined_and_computes() {
    let stage = Stage::new();
    let goes_on = Arc::new(AtomicBool::new(true));
    let of_thread = Arc::clone(&goes_on);
    // Without a name of its own it has that of the worker.
    let held_by = stage.wait(move || {
        let thread = std::thread::spawn(move || compute(&of_thread));
        assert!(thread.join().is_ok());
    });
    check(&held_by, None, "compute");
    assert_eq!(held_by.threads[0].role, HoldingRole::IsJoined);
    assert_eq!(held_by.threads[0].waits_in, None);
    goes_on.store(false, Ordering::Release);
    stage.end();
}

/// Two threads without a name of their own: they have that of the thread that makes the pool.
fn two_threads() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool")
}

#[track_caller]
fn check_pool(held_by: &HeldBy, function: &str, waits_in: Option<&str>) {
    println!("{held_by}");
    assert_eq!((held_by.holder, held_by.degree), (Holder::OtherThread, Degree::Likely));
    let [thread] = &held_by.threads[..] else { panic!("one works: {held_by:#?}") };
    assert_eq!(thread.role, HoldingRole::Works);
    assert_eq!(thread.waits_in.as_deref(), waits_in);
    let site = thread.site.as_ref().expect("own code is on its stack");
    assert!(site.function.contains(function), "{site}");
}

#[test]
fn a_thread_of_a_pool_that_works_is_likely_whom_others_wait_for() {
    for round in 0..2 * ROUNDS {
        let stage = Stage::new();
        let goes_on = Arc::new(AtomicBool::new(true));
        let of_pool = Arc::clone(&goes_on);
        if round % 2 == 0 {
            // The other thread rests.
            let held_by = stage.wait(move || {
                std::hint::black_box(two_threads().install(|| compute(&of_pool)));
            });
            check_pool(&held_by, "compute", None);
        } else {
            let (end, ended) = channel::<()>();
            let ended = Mutex::new(ended);
            let held_by = stage.wait(move || {
                two_threads().install(|| wait_in_pool(&ended));
            });
            check_pool(&held_by, "wait_in_pool", Some("futex"));
            drop(end);
        }
        goes_on.store(false, Ordering::Release);
        stage.end();
    }
}

#[inline(never)]
fn wait_in_pool(until: &Mutex<Receiver<()>>) {
    let until = until.lock().expect("no panic");
    let _ = until.recv();
    std::hint::black_box(&until);
}

#[test]
fn a_thread_of_a_pool_that_rests_is_nobody() {
    let stage = Stage::new();
    // Made by a worker, and without work.
    let (say, said) = channel();
    let of_worker = async move { say.send(two_threads()).expect("the case goes on") };
    stage.runtime.spawn(of_worker);
    let pool = said.recv_timeout(LIMIT).expect("it comes to it");
    let pair: &'static _ = Box::leak(Box::new((Mutex::new(false), std::sync::Condvar::new())));
    let held_by = stage.wait_in_vain(|| {
        let guard = pair.0.lock().expect("no panic");
        drop(pair.1.wait_while(guard, |done| !*done));
    });
    assert!(held_by.threads.is_empty(), "{held_by:#?}");
    *pair.0.lock().expect("no panic") = true;
    pair.1.notify_all();
    drop(pool);
    stage.end();
}

/// A thread with another name than the one that waits is not stopped.
#[test]
fn a_thread_of_no_runtime_that_computes_first_is_found_when_it_waits() {
    let mut stage = Stage::new();
    let lock = Arc::new(Mutex::new(7_u64));
    let (of_holder, computes) = (Arc::clone(&lock), Arc::new(AtomicBool::new(true)));
    let goes_on = Arc::clone(&computes);
    #[inline(never)]
    fn hold(lock: &Mutex<u64>, goes_on: &AtomicBool, Cue { say, until }: Cue) {
        let guard = lock.lock();
        say.send(()).expect("the case goes on");
        while goes_on.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        let _ = until.recv();
        drop(guard);
    }
    stage.thread(move |cue| hold(&of_holder, &goes_on, cue));
    stage.blocks(move || drop(lock.lock()));
    let first = stage.says("waiter", |_, _| true);
    assert!(!is_known(&first) && first.threads.is_empty(), "{first:#?}");
    assert!(first.threads_left_out > 0, "{first:#?}");
    computes.store(false, Ordering::Release);
    check(&stage.held_by("waiter"), None, "hold");
    stage.end();
}

#[test]
fn a_waiter_that_holds_its_lock_already() {
    #[inline(never)]
    fn again(lock: &parking_lot::ReentrantMutex<()>, inner: &Mutex<u8>) {
        let _other = lock.lock();
        drop(inner.lock());
    }
    let mut stage = Stage::new();
    // It never ends, so a thread is left behind with it.
    let lock: &'static Mutex<u8> = Box::leak(Box::new(Mutex::new(1)));
    let other: &'static parking_lot::ReentrantMutex<()> = Box::leak(Box::default());
    let known: Arc<&'static Mutex<u8>> = Arc::new(lock);
    decoys(&mut stage, &known, |_| {});
    let held_by = stage.wait(move || {
        let guard = lock.lock();
        again(other, lock);
        drop(guard);
    });
    assert_eq!((held_by.holder, held_by.degree), (Holder::SameThread, Degree::Certain));
    std::mem::forget(stage.runtime);
    drop(stage.keep);
}

#[test]
fn two_handlers_that_take_two_locks_in_different_order() {
    let mut stage = Stage::new();
    let locks: &'static [Mutex<u8>; 2] = Box::leak(Box::new([Mutex::new(1), Mutex::new(2)]));
    let all: &'static std::sync::Barrier = Box::leak(Box::new(std::sync::Barrier::new(2)));
    for (label, first, second) in [("one", 0, 1), ("two", 1, 0)] {
        let run = async move {
            let guard = locks[first].lock();
            all.wait();
            drop(locks[second].lock());
            drop(guard);
        };
        stage.runtime.spawn(stage.stall.watched(label, run));
    }
    for (label, other) in [("one", "two"), ("two", "one")] {
        let held_by = stage.held_by(label);
        assert_eq!(held_by.holder, Holder::Deadlock, "{held_by:#?}");
        assert_eq!(held_by.threads[0].handler.as_deref(), Some(other));
    }
    std::mem::forget(stage.runtime);
    stage.keep.clear();
}

/// A lock with nothing else close to it, to which others might have an address.
#[repr(C)]
struct Alone([u64; 256], parking_lot::Mutex<u64>);

impl Default for Alone {
    fn default() -> Self {
        Self([0; 256], Default::default())
    }
}

/// Has a suspended task hold a lock that two handlers wait for, `waiter` and `other`. The task ends when what
/// is returned is dropped.
#[allow(clippy::await_holding_lock, reason = "it is what is to be found")]
fn suspended(stage: &mut Stage, lock: Arc<Alone>) -> tokio::sync::oneshot::Sender<()> {
    let (cue, said) = stage.cue();
    let of_task = Arc::clone(&lock);
    let (done, wait_for_it) = tokio::sync::oneshot::channel::<()>();
    stage.runtime.spawn(async move {
        let guard = of_task.1.lock();
        cue.say.send(()).expect("the case goes on");
        let _ = wait_for_it.await;
        drop(guard);
    });
    said.recv_timeout(LIMIT).expect("it comes to it");
    for label in ["other", "waiter"] {
        let lock = Arc::clone(&lock);
        stage.runtime.spawn(stage.stall.watched(label, async move { drop(lock.1.lock()) }));
    }
    done
}

/// The same with a lock where none was before.
#[inline(never)]
fn suspended_alone(stage: &mut Stage) -> tokio::sync::oneshot::Sender<()> {
    let lock = Arc::default();
    std::mem::forget(Arc::clone(&lock));
    suspended(stage, lock)
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "clean-up without optimization is rarely followed to its end"
)]
fn a_guard_in_a_suspended_task_is_no_thread_s() {
    const NAME: &str = "a_guard_in_a_suspended_task_is_no_thread_s";
    const ALONE: &str = "STALL_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        // In a process of its own: threads of other tests may look as if they could hold the lock.
        let mut test = std::process::Command::new(std::env::current_exe().expect("this test"));
        let ran = test.args(["--exact", NAME]).env(ALONE, "1").output().expect("it runs");
        let said = String::from_utf8_lossy(&ran.stdout);
        return assert!(ran.status.success() && said.contains("1 passed"), "{said}");
    }
    // So may what older calls have left on a stack.
    let is_said = || {
        let mut stage = Stage::new();
        // The frames that stay do not know the lock.
        let done = suspended_alone(&mut stage);
        let found = ["other", "waiter"].map(|label| stage.in_vain(label));
        for held_by in &found {
            assert!(held_by.threads.is_empty(), "{held_by:#?}");
            let known = [(Holder::NoThread, Degree::Likely), (Holder::Unknown, Degree::Unknown)];
            assert!(known.contains(&(held_by.holder, held_by.degree)), "{held_by:#?}");
        }
        drop(done);
        stage.end();
        found.iter().all(|held_by| held_by.holder == Holder::NoThread)
    };
    assert!((0..10).any(|_| is_said()), "it stays unknown");
}

#[test]
fn a_guard_in_a_suspended_task_names_nobody_of_those_who_know_the_lock() {
    let mut stage = Stage::new();
    let lock = Arc::default();
    decoys(&mut stage, &lock, |lock: &Alone| drop(lock.1.lock()));
    let done = suspended(&mut stage, lock);
    let held_by = stage.in_vain("waiter");
    assert!(held_by.threads.is_empty(), "{held_by:#?}");
    let known = [(Holder::NoThread, Degree::Likely), (Holder::Unknown, Degree::Unknown)];
    assert!(known.contains(&(held_by.holder, held_by.degree)), "{held_by:#?}");
    drop(done);
    stage.end();
}

#[test]
fn the_thread_that_is_joined_and_the_one_that_initialises() {
    static SLOW: LazyLock<u8> = LazyLock::new(|| {
        let cue = CUE.lock().unwrap_or_else(PoisonError::into_inner).take();
        cue.expect("the first use").stay();
        7
    });
    static CUE: Mutex<Option<Cue>> = Mutex::new(None);

    let mut stage = Stage::new();
    let (cue, said) = stage.cue();
    let sleeper = Builder::new().name("sleeper".into()).spawn(move || cue.stay());
    let sleeper = sleeper.expect("a thread");
    said.recv_timeout(LIMIT).expect("it comes to it");
    let held_by = stage.wait(move || sleeper.join().expect("no panic"));
    assert_eq!((held_by.holder, held_by.degree), (Holder::OtherThread, Degree::Certain));
    assert_eq!(held_by.threads[0].role, HoldingRole::IsJoined);
    assert_eq!(held_by.threads[0].name.as_deref(), Some("sleeper"));
    stage.end();

    let mut stage = Stage::new();
    let (cue, said) = stage.cue();
    *CUE.lock().unwrap_or_else(PoisonError::into_inner) = Some(cue);
    stage.threads.push(std::thread::spawn(|| assert_eq!(*SLOW, 7)));
    said.recv_timeout(LIMIT).expect("it comes to it");
    let held_by = stage.wait(|| assert_eq!(*SLOW, 7));
    check(&held_by, None, "SLOW");
    assert_eq!(held_by.threads[0].role, HoldingRole::Initialises);
    stage.end();
}

#[test]
fn what_nobody_holds_names_nobody() {
    let mut stage = Stage::new();
    let (cue, said) = stage.cue();
    let held_by = stage.wait_in_vain(move || cue.stay());
    said.recv_timeout(LIMIT).expect("it comes to it");
    assert_eq!((held_by.holder, held_by.degree), (Holder::Unknown, Degree::Unknown));
    assert!(held_by.threads.is_empty());
    stage.end();
}

#[test]
fn a_holder_among_a_hundred_threads() {
    let mut stage = Stage::new();
    let lock = Arc::new(StdMutex::make());
    for _ in 0..100 {
        let known = Arc::clone(&lock);
        stage.thread(move |cue| knows(&*known, cue));
    }
    let of_holder = Arc::clone(&lock);
    stage.thread(move |cue| of_holder.hold(cue));
    let held_by = stage.wait_in_vain(move || lock.wait());
    // There may be no time for all of them, and then nobody is named.
    if held_by.threads_left_out == 0 || held_by.degree != Degree::Unknown {
        check(&held_by, None, "hold");
    }
    println!("{} of 108 threads left out", held_by.threads_left_out);
    stage.end();
}
