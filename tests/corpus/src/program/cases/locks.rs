//! Locks that somebody else holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Barrier, Condvar, Mutex, OnceLock, RwLock};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use dashmap::DashMap;

use crate::case::{Case, Flavor, told};
use crate::stage::{Stage, over, wait_until_over};

/// Both say how to hold a lock that handlers need.
const FIX: &str = "hold the lock for less";
/// Where no running thread holds it. Without optimization that is not always to be seen.
const AWAITS: &str = "before each `.await`|hold the lock for less";
/// Where two wait for each other. Without symbols that is not seen.
const ORDER: &str = "in the same order everywhere|hold the lock for less";

/// Where those who hold a lock stay until the end.
const HELD: &str = "stage::wait_until_over";
/// What is left on a stack may look as if that thread had the lock, too.
const SUSPENDED: &str = "no_thread|unknown";

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "mutex-held-by-ticker",
        "garden-co/jazz#74, openai/codex#3850",
        &[told("GET /state", "lock", "cases::locks::read_state", FIX)
            .held_by("other_thread", HELD)],
        mutex_held_by_ticker,
    ),
    Case::new(
        "rwlock-behind-writer",
        "rayon-rs/rayon#1205, ProvableHQ/snarkOS#3063",
        &[told("GET /balance", "lock", "cases::locks::read_balance", FIX)
            .held_by("other_thread", HELD)],
        rwlock_behind_writer,
    ),
    Case::new(
        "parking-lot-mutex",
        "sigp/lighthouse#4952",
        &[told("GET /peers", "lock", "cases::locks::count_peers", FIX)
            .held_by("other_thread", HELD)],
        parking_lot_mutex,
    ),
    Case::new(
        "dashmap-ref-across-await",
        "worldcoin/iris-mpc#959, xacrimon/dashmap#79, kguardian-dev/kguardian#1343",
        &[told("GET /sessions/{id}", "lock", "cases::locks::touch_session", AWAITS)
            .held_by(SUSPENDED, "")],
        dashmap_ref_across_await,
    ),
    Case::new(
        "guard-across-await-on-one-thread",
        "xacrimon/dashmap#348, pubky/pkdns#51",
        &[told("GET /count", "lock", "cases::locks::count", AWAITS).held_by(SUSPENDED, "")],
        guard_across_await_on_one_thread,
    )
    .on(Flavor::CurrentThread),
    Case::new(
        "lock-order-of-two",
        "SquireTournamentServices/SquireBot#32, CronCats/croncat-rs#128",
        &[
            told("GET /transfer", "lock", "cases::locks::transfer", ORDER)
                .held_by("deadlock", "cases::locks::refund"),
            told("GET /refund", "lock", "cases::locks::refund", ORDER)
                .held_by("deadlock", "cases::locks::transfer"),
        ],
        lock_order_of_two,
    ),
    Case::new(
        "condvar",
        "apecloud/ape-dts#495",
        &[told("GET /jobs/wait", "lock", "cases::locks::wait_for_job", "tokio::sync")],
        condvar,
    ),
    Case::new(
        "barrier",
        "tokio-rs/tokio-compat#1",
        &[told("GET /start", "lock", "cases::locks::start_together", "tokio::sync")],
        barrier,
    ),
    Case::new(
        "once-lock-initialized-elsewhere",
        "rust-lang/rust: OnceLock::get_or_init blocks while another thread initializes",
        &[told("GET /config", "lock", "cases::locks::config", "spawn_blocking|tokio::sync")
            .held_by("other_thread", HELD)],
        once_lock_initialized_elsewhere,
    ),
];

/// Another thread holds what `hold` returns until the end.
fn held<G>(hold: impl FnOnce() -> G + Send + 'static) {
    let (taken, is_taken) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let guard = hold();
        taken.send(()).expect("it is waited for");
        wait_until_over();
        drop(guard);
    });
    is_taken.recv().expect("it is taken");
}

fn mutex_held_by_ticker(stage: &Stage) {
    let state: &'static Mutex<u64> = Box::leak(Box::default());
    held(|| state.lock().expect("new"));
    let handler = move || async move { read_state(state) };
    stage.get("/state", Router::new().route("/state", get(handler)));
}

#[inline(never)]
fn read_state(state: &Mutex<u64>) -> String {
    let state = here!(state.lock());
    state.expect("not poisoned").to_string()
}

fn rwlock_behind_writer(stage: &Stage) {
    let balance: &'static RwLock<u64> = Box::leak(Box::default());
    // A reader that takes long, a writer that waits for it, and readers behind the writer.
    held(|| balance.read().expect("new"));
    std::thread::spawn(|| *balance.write().expect("new") += 1);
    while balance.try_read().is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let handler = move || async move { read_balance(balance) };
    stage.get("/balance", Router::new().route("/balance", get(handler)));
}

#[inline(never)]
fn read_balance(balance: &RwLock<u64>) -> String {
    let balance = here!(balance.read());
    balance.expect("not poisoned").to_string()
}

fn parking_lot_mutex(stage: &Stage) {
    let peers: &'static parking_lot::Mutex<Vec<u32>> = Box::leak(Box::default());
    held(|| peers.lock());
    let handler = move || async move { count_peers(peers) };
    stage.get("/peers", Router::new().route("/peers", get(handler)));
}

#[inline(never)]
fn count_peers(peers: &parking_lot::Mutex<Vec<u32>>) -> String {
    let peers = here!(peers.lock());
    peers.len().to_string()
}

fn dashmap_ref_across_await(stage: &Stage) {
    let sessions: Arc<DashMap<u32, u32>> = Arc::default();
    sessions.insert(7, 0);
    let (taken, is_taken) = std::sync::mpsc::channel();
    let refreshed = Arc::clone(&sessions);
    stage.spawn(async move {
        let session = refreshed.get(&7);
        taken.send(()).expect("it is waited for");
        over().await;
        drop(session);
    });
    is_taken.recv().expect("it is taken");
    let handler = move || async move { touch_session(&sessions) };
    stage.get("/sessions/7", Router::new().route("/sessions/{id}", get(handler)));
}

#[inline(never)]
fn touch_session(sessions: &DashMap<u32, u32>) -> String {
    let session = here!(sessions.get_mut(&7));
    session.map_or(0, |session| *session).to_string()
}

/// The task that holds the lock never gets the thread that waits for it. The other gives up after a
/// while, so that the case ends.
fn guard_across_await_on_one_thread(stage: &Stage) {
    let counts: &'static parking_lot::Mutex<HashMap<u32, u32>> = Box::leak(Box::default());
    let (taken, is_taken) = std::sync::mpsc::channel();
    #[expect(clippy::await_holding_lock, reason = "that is the fault")]
    stage.spawn(async move {
        let guard = counts.lock();
        taken.send(()).expect("it is waited for");
        over().await;
        drop(guard);
    });
    is_taken.recv().expect("it is taken");
    let handler = move || async move { count(counts) };
    stage.get("/count", Router::new().route("/count", get(handler)));
}

#[inline(never)]
fn count(counts: &parking_lot::Mutex<HashMap<u32, u32>>) -> String {
    let counts = here!(counts.try_lock_for(GIVES_UP));
    counts.map_or(0, |counts| counts.len()).to_string()
}

struct Accounts {
    mine: parking_lot::Mutex<u64>,
    yours: parking_lot::Mutex<u64>,
    /// How many handlers have their first lock.
    locked: AtomicUsize,
}

/// Each has what the other wants. They give up after a while, so that the case ends.
fn lock_order_of_two(stage: &Stage) {
    let accounts: &'static Accounts = Box::leak(Box::new(Accounts {
        mine: parking_lot::Mutex::new(7),
        yours: parking_lot::Mutex::new(7),
        locked: AtomicUsize::new(0),
    }));
    let router = Router::new()
        .route("/transfer", get(move || async move { transfer(accounts) }))
        .route("/refund", get(move || async move { refund(accounts) }));
    let address = stage.serve(router);
    stage.ask(address, "/transfer");
    while accounts.locked.load(SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    stage.ask(address, "/refund");
}

const GIVES_UP: Duration = Duration::from_millis(1500);

/// Both handlers have one lock now, on two workers.
fn both(accounts: &Accounts) {
    accounts.locked.fetch_add(1, SeqCst);
    while accounts.locked.load(SeqCst) < 2 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[inline(never)]
fn transfer(accounts: &Accounts) {
    let mine = accounts.mine.lock();
    both(accounts);
    let yours = here!(accounts.yours.try_lock_for(GIVES_UP));
    drop((mine, yours));
}

#[inline(never)]
fn refund(accounts: &Accounts) {
    let yours = accounts.yours.lock();
    both(accounts);
    let mine = here!(accounts.mine.try_lock_for(GIVES_UP * 2));
    drop((mine, yours));
}

fn condvar(stage: &Stage) {
    let job: &'static (Mutex<bool>, Condvar) = Box::leak(Box::default());
    stage.at_release(|| {
        *job.0.lock().expect("not poisoned") = true;
        job.1.notify_all();
    });
    let handler = move || async move { wait_for_job(job) };
    stage.get("/jobs/wait", Router::new().route("/jobs/wait", get(handler)));
}

#[inline(never)]
fn wait_for_job((job, is_done): &(Mutex<bool>, Condvar)) {
    let job = job.lock().expect("not poisoned");
    let job = here!(is_done.wait_while(job, |job| !*job));
    drop(job.expect("not poisoned"));
}

fn barrier(stage: &Stage) {
    let barrier: &'static Barrier = Box::leak(Box::new(Barrier::new(2)));
    stage.at_release(|| {
        barrier.wait();
    });
    let handler = move || async move { start_together(barrier) };
    stage.get("/start", Router::new().route("/start", get(handler)));
}

#[inline(never)]
fn start_together(barrier: &Barrier) {
    let result = here!(barrier.wait());
    assert!(!result.is_leader(), "the other came last");
}

fn once_lock_initialized_elsewhere(stage: &Stage) {
    static CONFIG: OnceLock<String> = OnceLock::new();
    let (begun, has_begun) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        CONFIG.get_or_init(|| {
            begun.send(()).expect("it is waited for");
            wait_until_over();
            "read from a slow disk".to_owned()
        })
    });
    has_begun.recv().expect("it has begun");
    let handler = || async { config(&CONFIG) };
    stage.get("/config", Router::new().route("/config", get(handler)));
}

#[inline(never)]
fn config(config: &OnceLock<String>) -> String {
    let config = here!(config.get_or_init(String::new));
    config.clone()
}
