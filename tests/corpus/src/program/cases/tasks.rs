//! Tasks without a request, and futures that run several things in one task.

use std::thread::sleep;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::case::{Case, Flavor, told};
use crate::stage::{LONG, OVER, Relaxed, Stage, wait_until_over};

const SLEEP: &str = "tokio::time::sleep";
const MOVE: &str = "spawn_blocking";
const NOBODY: &str = "unattributed";

/// What proves that a plain task computes.
fn breakpoints() -> Result<(), &'static str> {
    let level = std::fs::read_to_string("/proc/sys/kernel/perf_event_paranoid");
    let level = level.ok().and_then(|level| level.trim().parse::<i32>().ok());
    if level.is_some_and(|level| level <= 2) {
        Ok(())
    } else {
        Err("perf_event_paranoid is above 2")
    }
}

pub(crate) const CASES: &[Case] = &[
    // Before the first request.
    Case::new(
        "task-at-start-sleeps",
        "chainflip-io/chainflip-backend#265, 64bit/async-openai#194",
        &[told(NOBODY, "sleep", "cases::tasks::fill_cache", SLEEP)],
        |stage| stage.spawn(async { fill_cache() }),
    ),
    Case::new(
        "task-sleeps",
        "tokio-rs/tokio#3120, 64bit/async-openai#194",
        &[told(NOBODY, "sleep", "cases::tasks::sync_mail", SLEEP)],
        |stage| stage.spawn_later(async { sync_mail() }),
    ),
    Case::new(
        "task-computes",
        "tokio-rs/tokio#4730, divviup/janus#2955",
        &[told(NOBODY, "cpu", "cases::tasks::aggregate", MOVE)],
        |stage| stage.spawn_later(async { aggregate() }),
    )
    .if_possible(breakpoints),
    Case::new(
        "task-waits-for-a-thread",
        "xline-kv/Xline#94",
        &[told(NOBODY, "lock", "cases::tasks::wait_for_peer", "tokio::sync")],
        |stage| {
            let (sender, receiver) = std::sync::mpsc::channel::<()>();
            stage.at_release(|| drop(sender));
            stage.spawn_later(async move { wait_for_peer(&receiver) });
        },
    ),
    Case::new(
        "spawned-by-the-handler",
        "grpc/grpc-rust#1637",
        &[told(NOBODY, "sleep", "cases::tasks::ingest", SLEEP)],
        |stage| {
            let handler = || async { tokio::spawn(async { ingest() }).await.expect("no panic") };
            stage.get("/ingest", Router::new().route("/ingest", get(handler)));
        },
    ),
    Case::new(
        "websocket-message",
        "Totodore/socketioxide#373",
        &[told(NOBODY, "sleep", "cases::tasks::answer_message", SLEEP)],
        websocket_message,
    ),
    Case::new(
        "select-loop-computes",
        "succinctlabs/sp1-cluster#163",
        &[told("prover", "cpu", "cases::tasks::splice", MOVE)],
        select_loop_computes,
    ),
    Case::new(
        "named-task-sleeps",
        "aptos-labs/aptos-indexer-processors#268",
        &[told("indexer", "sleep", "cases::tasks::index", SLEEP)],
        |stage| {
            let indexer = stage.detector().watched("indexer", async { index() });
            stage.spawn(indexer);
        },
    ),
    Case::new(
        "task-on-one-thread-computes",
        "get10101/itchysats#906",
        &[told(NOBODY, "cpu", "cases::tasks::sign", MOVE)],
        |stage| stage.spawn_later(async { sign() }),
    )
    .on(Flavor::CurrentThread)
    .if_possible(breakpoints),
    Case::new(
        "handler-on-one-thread-computes",
        "wg-async: Barbara bridges sync and async (rust-lang/wg-async#149), tokio-rs/tokio#3474",
        &[told("GET /quote", "cpu", "cases::tasks::price", MOVE)],
        |stage| stage.get("/quote", Router::new().route("/quote", get(|| async { price() }))),
    )
    .on(Flavor::CurrentThread),
    Case::new(
        "root-future-blocks",
        "seanmonstar/reqwest#1215, tokio-rs/tokio#2376",
        &[told(NOBODY, "sleep", "cases::tasks::import_at_start", SLEEP)],
        |stage| {
            side_runtime(stage, || {
                Box::pin(async {
                    tokio::task::yield_now().await;
                    import_at_start();
                })
            });
        },
    ),
    Case::new(
        "local-task-blocks",
        "tokio-rs/tokio#3120, denoland/deno#3431",
        &[told(NOBODY, "sleep", "cases::tasks::run_script", SLEEP)],
        |stage| {
            side_runtime(stage, || {
                Box::pin(async {
                    let tasks = LocalSet::new();
                    tasks.spawn_local(async { run_script() });
                    tasks.await;
                })
            });
        },
    ),
    Case::new(
        "timeout-around-a-block",
        "tikv/tikv#15340, seanmonstar/reqwest#1215",
        &[told("GET /limited", "sleep", "cases::tasks::call_upstream", SLEEP)],
        |stage| {
            let handler = || async {
                let limit = Duration::from_millis(50);
                let _ = tokio::time::timeout(limit, async { call_upstream() }).await;
            };
            stage.get("/limited", Router::new().route("/limited", get(handler)));
        },
    ),
    Case::new(
        "one-branch-of-join",
        "kguardian-dev/kguardian#1343, tokio-rs/tokio#618",
        &[told("GET /both", "sleep", "cases::tasks::slow_half", SLEEP)],
        |stage| {
            let handler = || async {
                tokio::join!(async { slow_half() }, tokio::time::sleep(Duration::from_millis(10)));
            };
            stage.get("/both", Router::new().route("/both", get(handler)));
        },
    ),
    Case::new(
        "stream-that-is-always-ready",
        "rust-lang/futures-rs#869, tokio-rs/tokio#207",
        &[told("GET /replay", "cpu", "cases::tasks::replay", "yield_now")],
        |stage| {
            let handler = || async { replay().await.to_string() };
            stage.get("/replay", Router::new().route("/replay", get(handler)));
        },
    ),
];

#[inline(never)]
fn fill_cache() {
    here!(sleep(LONG * 2));
}

#[inline(never)]
fn sync_mail() {
    here!(sleep(LONG * 2));
}

#[inline(never)]
#[rustfmt::skip]
fn aggregate() {
    let mut sum = 1_u64;
    here!(()); while !OVER.load(Relaxed) { sum = std::hint::black_box(sum).wrapping_mul(7) }
}

#[inline(never)]
fn wait_for_peer(peer: &std::sync::mpsc::Receiver<()>) {
    let received = here!(peer.recv());
    assert!(received.is_err());
}

#[inline(never)]
fn ingest() {
    here!(sleep(LONG * 2));
}

/// The upgraded connection is a task of its own.
fn websocket_message(stage: &Stage) {
    let upgrade = |upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(talk) };
    let address = stage.serve(Router::new().route("/socket", get(upgrade)));
    stage.guest(move || {
        use std::io::{Read, Write};
        let mut server = std::net::TcpStream::connect(address).expect("it listens");
        let request = "GET /socket HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
            upgrade: websocket\r\nsec-websocket-version: 13\r\n\
            sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
        server.write_all(request.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            server.read_exact(&mut byte).expect("an answer");
            answer.extend(byte);
        }
        // A text of two letters, masked with zeros.
        server.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).expect("it reads");
        server.read_exact(&mut [0; 4]).expect("the same text");
    });
}

async fn talk(mut socket: WebSocket) {
    while let Some(Ok(Message::Text(text))) = socket.recv().await {
        answer_message();
        if socket.send(Message::Text(text)).await.is_err() {
            return;
        }
    }
}

#[inline(never)]
fn answer_message() {
    here!(sleep(LONG * 2));
}

fn select_loop_computes(stage: &Stage) {
    let (sender, mut messages) = mpsc::channel::<u32>(1);
    sender.try_send(7).expect("there is room");
    let actor = async move {
        let mut heartbeat = tokio::time::interval(Duration::from_millis(20));
        loop {
            tokio::select! {
                _ = heartbeat.tick() => {}
                message = messages.recv() => match message {
                    Some(_) => splice(),
                    None => return,
                }
            }
        }
    };
    stage.spawn(stage.detector().watched("prover", actor));
    stage.at_release(|| drop(sender));
}

#[inline(never)]
#[rustfmt::skip]
fn splice() {
    let mut piece = 1_u64;
    here!(()); while !OVER.load(Relaxed) { piece = std::hint::black_box(piece).rotate_left(7) }
}

#[inline(never)]
fn index() {
    here!(sleep(LONG));
}

#[inline(never)]
#[rustfmt::skip]
fn sign() {
    let mut key = 3_u64;
    here!(()); while !OVER.load(Relaxed) { key = std::hint::black_box(key).wrapping_mul(5) }
}

#[inline(never)]
#[rustfmt::skip]
fn price() {
    let mut value = 3_u64;
    here!(()); while !OVER.load(Relaxed) { value = std::hint::black_box(value).wrapping_add(5) }
}

/// A runtime of one thread that runs this as its root future, and then idles.
fn side_runtime(stage: &Stage, root: fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    stage.detector().watch("side", runtime.handle());
    stage.guest(move || {
        runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            root().await;
            tokio::time::sleep(Duration::from_millis(300)).await;
        });
        wait_until_over();
    });
}

#[inline(never)]
fn import_at_start() {
    here!(sleep(LONG * 2));
}

#[inline(never)]
fn run_script() {
    here!(sleep(LONG * 2));
}

#[inline(never)]
fn call_upstream() {
    here!(sleep(LONG));
}

#[inline(never)]
fn slow_half() {
    here!(sleep(LONG));
}

#[rustfmt::skip]
async fn replay() -> u64 {
    let mut events = futures::stream::iter(0_u64..);
    let mut sum = 0_u64;
    here!(()); while let Some(event) = events.next().await { if OVER.load(Relaxed) { break } sum ^= std::hint::black_box(event) }
    sum
}
