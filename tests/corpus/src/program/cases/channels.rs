//! Channels, threads and executors that a handler waits for without `.await`.

use std::sync::mpsc;

use tokio::sync::oneshot;

use crate::case::{Case, told};
use crate::stage::{OVER, Relaxed, wait_until_over};

const CHANNEL: &str = "tokio::sync";
const BLOCK_ON: &str = "await the future";
const JOIN: &str = "JoinHandle instead of joining a thread|spawn_blocking";

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "mpsc-recv",
        "simple-warfare/simple_warfare#1",
        &[told("GET /reply", "lock", "cases::channels::wait_for_reply", CHANNEL)],
        |stage| {
            let (sender, replies) = mpsc::channel::<()>();
            stage.at_release(|| drop(sender));
            stage.get_once("/reply", move || wait_for_reply(&replies));
        },
    ),
    Case::new(
        "sync-channel-full",
        "apecloud/ape-dts#495",
        &[told("GET /enqueue", "lock", "cases::channels::enqueue", CHANNEL)],
        |stage| {
            let (queue, work) = mpsc::sync_channel(1);
            queue.send(0).expect("there is room");
            stage.at_release(|| drop(work));
            stage.get_once("/enqueue", move || enqueue(&queue));
        },
    ),
    Case::new(
        "crossbeam-recv",
        "crossbeam-rs/crossbeam#896, xline-kv/Xline#94",
        &[told("GET /next", "lock", "cases::channels::next", CHANNEL)],
        |stage| {
            let (sender, values) = crossbeam_channel::bounded::<u32>(1);
            stage.at_release(|| drop(sender));
            stage.get_once("/next", move || next(&values));
        },
    ),
    Case::new(
        "crossbeam-send-full",
        "zesterer/flume#124",
        &[told("GET /publish", "lock", "cases::channels::publish", CHANNEL)],
        |stage| {
            let (sender, values) = crossbeam_channel::bounded(1);
            sender.send(0).expect("there is room");
            stage.at_release(|| drop(values));
            stage.get_once("/publish", move || publish(&sender));
        },
    ),
    Case::new(
        "thread-join",
        "tokio-rs/tokio#4130",
        &[told("GET /report", "lock", "cases::channels::report", JOIN)
            .held_by("other_thread", "stage::wait_until_over")],
        |stage| stage.get_once("/report", report),
    ),
    Case::new(
        "scoped-threads",
        "aptos-labs/aptos-core#19619",
        &[told("GET /verify", "lock", "cases::channels::verify", JOIN)],
        |stage| stage.get_once("/verify", verify),
    ),
    Case::new(
        "runtime-in-a-thread",
        "aws/aws-encryption-sdk#950, ClickHouse/adbc_clickhouse#25",
        &[told("GET /decrypt", "lock", "cases::channels::decrypt", JOIN)
            .held_by("other_thread", "cases::channels::decrypt")],
        |stage| stage.get_once("/decrypt", decrypt),
    ),
    Case::new(
        "rayon-install",
        "jdx/mise#5172, sigp/lighthouse#4952",
        &[told("GET /proof", "lock", "cases::channels::prove", "rayon::spawn")
            .held_by("other_thread", "stage::wait_until_over")],
        |stage| stage.get_once("/proof", prove),
    ),
    Case::new(
        "futures-block-on",
        "tokio-rs/tokio#2376, rust-lang/wg-async#54",
        &[told("GET /aggregate", "lock", "cases::channels::aggregate", BLOCK_ON)],
        |stage| {
            let (release, released) = oneshot::channel();
            stage.at_release(|| release.send(()).expect("it waits"));
            stage.get_once("/aggregate", move || aggregate(released));
        },
    ),
    Case::new(
        "block-on-in-sync-trait",
        "seanmonstar/reqwest#1215, rust-lang/wg-async#149",
        &[told(
            "GET /cached",
            "lock",
            "<cases::channels::Remote as cases::channels::Cache>::load",
            BLOCK_ON,
        )],
        |stage| {
            let (release, released) = oneshot::channel();
            stage.at_release(|| release.send(()).expect("it waits"));
            stage.get_once("/cached", move || {
                let mut cache: Box<dyn Cache> = Box::new(Remote(Some(released)));
                cache.load();
            });
        },
    ),
    Case::new(
        "spin-on-a-flag",
        "deventlab/d-engine#311, xacrimon/dashmap#79",
        &[told("GET /ready", "cpu", "cases::channels::spin", "spawn_blocking|yield_now")],
        |stage| stage.get_once("/ready", spin),
    ),
];

#[inline(never)]
fn wait_for_reply(replies: &mpsc::Receiver<()>) {
    let reply = here!(replies.recv());
    assert!(reply.is_err());
}

#[inline(never)]
fn enqueue(queue: &mpsc::SyncSender<u32>) {
    let sent = here!(queue.send(1));
    assert!(sent.is_err());
}

#[inline(never)]
fn next(values: &crossbeam_channel::Receiver<u32>) {
    let value = here!(values.recv());
    assert!(value.is_err());
}

#[inline(never)]
fn publish(values: &crossbeam_channel::Sender<u32>) {
    let sent = here!(values.send(1));
    assert!(sent.is_err());
}

#[inline(never)]
fn report() {
    let thread = std::thread::spawn(wait_until_over);
    let joined = here!(thread.join());
    joined.expect("no panic");
}

#[inline(never)]
#[rustfmt::skip]
fn verify() {
    here!(std::thread::scope(|scope| { scope.spawn(wait_until_over); scope.spawn(wait_until_over); }));
}

#[inline(never)]
fn decrypt() {
    let thread = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(crate::stage::over());
    });
    let joined = here!(thread.join());
    joined.expect("no panic");
}

#[inline(never)]
fn prove() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("threads");
    here!(pool.install(wait_until_over));
}

#[inline(never)]
fn aggregate(released: oneshot::Receiver<()>) {
    let result = here!(futures::executor::block_on(released));
    result.expect("it was sent");
}

trait Cache {
    fn load(&mut self);
}

struct Remote(Option<oneshot::Receiver<()>>);

impl Cache for Remote {
    #[inline(never)]
    fn load(&mut self) {
        let result = here!(futures::executor::block_on(self.0.take().expect("once")));
        result.expect("it was sent");
    }
}

#[inline(never)]
#[rustfmt::skip]
fn spin() {
    here!(()); while !OVER.load(Relaxed) { std::hint::spin_loop() }
}
