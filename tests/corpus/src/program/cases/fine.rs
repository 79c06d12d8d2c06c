//! What only looks like a stall: nothing is to be reported.

use std::thread::sleep;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, Semaphore, mpsc, oneshot};
use tokio::task::{block_in_place, spawn_blocking, yield_now};

use crate::case::{Case, Flavor, Told};
use crate::stage::LONG;

const NOTHING: &[Told] = &[];

pub(crate) const CASES: &[Case] = &[
    Case::new("spawn-blocking", "tokio-rs/console#528", NOTHING, |stage| {
        stage
            .get("/", answer(|| async { spawn_blocking(|| sleep(LONG)).await.expect("no panic") }));
    }),
    Case::new(
        "block-in-place",
        "tokio-rs/console#516, holochain/holochain#3590",
        NOTHING,
        |stage| {
            stage.get("/", answer(|| async { block_in_place(|| sleep(LONG)) }));
        },
    ),
    Case::new("block-on-in-block-in-place", "tokio-rs/tokio#6463", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                block_in_place(|| Handle::current().block_on(tokio::time::sleep(LONG)));
            }),
        );
    }),
    Case::new("async-sleep", "actix/examples#350", NOTHING, |stage| {
        stage.get("/", answer(|| async { tokio::time::sleep(LONG).await }));
    }),
    Case::new("loop-that-yields", "tokio-rs/tokio-core#165", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                for _ in 0..300 {
                    spin(Duration::from_millis(2));
                    yield_now().await;
                }
            }),
        );
    }),
    Case::new("loop-with-a-budget", "tokio-rs/tokio#8207, tokio-rs/tokio#3280", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                for _ in 0..60_000 {
                    spin(Duration::from_micros(10));
                    tokio::task::consume_budget().await;
                }
            }),
        );
    }),
    Case::new("loop-that-yields-on-one-thread", "tokio-rs/tokio#2462", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                for _ in 0..300 {
                    spin(Duration::from_millis(2));
                    yield_now().await;
                }
            }),
        );
    })
    .on(Flavor::CurrentThread),
    Case::new(
        "short-blocks",
        "librefang/librefang#5905, quickwit-oss/quickwit#4970",
        NOTHING,
        |stage| {
            stage.get(
                "/",
                answer(|| async {
                    for _ in 0..40 {
                        sleep(Duration::from_millis(15));
                        yield_now().await;
                    }
                }),
            );
        },
    ),
    Case::new("slow-upstream", "grpc/grpc-rust#494", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = upstream.local_addr().expect("bound");
                let answers = async {
                    let (mut peer, _) = upstream.accept().await.expect("a peer");
                    tokio::time::sleep(LONG).await;
                    peer.write_all(b"late").await.expect("it reads");
                };
                let asks = async {
                    let mut server = TcpStream::connect(address).await.expect("it listens");
                    server.read_exact(&mut [0; 4]).await.expect("an answer");
                };
                tokio::join!(answers, asks);
            }),
        );
    }),
    Case::new("full-channel-awaited", "autonomys/subspace#1316", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                let (sender, mut receiver) = mpsc::channel(1);
                let sends = async {
                    for number in 0..5 {
                        sender.send(number).await.expect("it is read");
                    }
                    drop(sender);
                };
                let reads = async {
                    for _ in 0..5 {
                        tokio::time::sleep(LONG / 5).await;
                        receiver.recv().await.expect("five");
                    }
                };
                tokio::join!(sends, reads);
            }),
        );
    }),
    Case::new(
        "async-mutex-held-across-await",
        "breez/spark-sdk#103, openai/codex#3850",
        NOTHING,
        |stage| {
            let state: &'static Mutex<u32> = Box::leak(Box::default());
            let handler = move || async move {
                let mut state = state.lock().await;
                tokio::time::sleep(LONG / 2).await;
                *state += 1;
            };
            let address = stage.serve(answer(handler));
            (0..4).for_each(|_| stage.ask(address, "/"));
        },
    ),
    Case::new("semaphore-awaited", "qoollo/bob#768", NOTHING, |stage| {
        let permits: &'static Semaphore = Box::leak(Box::new(Semaphore::new(1)));
        let handler = move || async move {
            let _permit = permits.acquire().await.expect("open");
            tokio::time::sleep(LONG / 2).await;
        };
        let address = stage.serve(answer(handler));
        (0..4).for_each(|_| stage.ask(address, "/"));
    }),
    Case::new("async-file", "nymtech/nym-vpn-client#2728", NOTHING, |stage| {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let path = folder.join("file");
        std::fs::write(&path, vec![7; 32 << 20]).expect("space");
        let handler = move || async move {
            for _ in 0..8 {
                assert_eq!(tokio::fs::read(&path).await.expect("it is there").len(), 32 << 20);
            }
        };
        stage.get("/", answer(handler));
    }),
    Case::new("async-process", "o2sh/onefetch#199", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                let mut child = tokio::process::Command::new("sleep");
                let status = child.arg("0.5").status().await.expect("it runs");
                assert!(status.success());
            }),
        );
    }),
    Case::new(
        "rayon-spawn",
        "quickwit-oss/quickwit#4970, aptos-labs/aptos-core#8652",
        NOTHING,
        |stage| {
            stage.get(
                "/",
                answer(|| async {
                    let (done, is_done) = oneshot::channel();
                    rayon::spawn(move || {
                        spin(LONG);
                        let _ = done.send(());
                    });
                    is_done.await.expect("it is sent");
                }),
            );
        },
    ),
    Case::new("thread-computes", "smg-project/smg#1698", NOTHING, |stage| {
        stage.guest(|| spin(LONG * 2));
        stage.get("/", answer(|| async { tokio::time::sleep(LONG).await }));
    }),
    Case::new("many-small-futures", "tokio-rs/tokio#3625", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                let futures = futures::stream::iter(0..20_000).map(|_| async {
                    spin(Duration::from_micros(20));
                    yield_now().await;
                });
                futures.buffer_unordered(64).for_each(|()| async {}).await;
            }),
        );
    }),
    Case::new(
        "runtime-within-a-runtime-panics",
        "tokio-rs/tokio#5273, tokio-rs/tokio#5177",
        NOTHING,
        |stage| {
            stage.get(
                "/",
                answer(|| async {
                    Handle::current().block_on(tokio::time::sleep(LONG));
                }),
            );
        },
    ),
    Case::new("blocking-pool-is-full", "TraceMachina/nativelink#2571", NOTHING, |stage| {
        let handler = || async {
            let tasks = (0..8).map(|_| spawn_blocking(|| sleep(LONG)));
            futures::future::join_all(tasks).await;
        };
        stage.get("/", answer(handler));
    }),
    Case::new("slow-upload", "hyperium/h2#332", NOTHING, |stage| {
        let handler = |body: String| async move { body.len().to_string() };
        let address = stage.serve(Router::new().route("/", post(handler)));
        stage.guest(move || {
            use std::io::{Read, Write};
            let mut server = std::net::TcpStream::connect(address).expect("it listens");
            let head = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 7\r\nconnection: close\r\n\r\n";
            server.write_all(head.as_bytes()).expect("it reads");
            for byte in b"a word!" {
                sleep(LONG / 7);
                server.write_all(&[*byte]).expect("it reads");
            }
            server.read_to_end(&mut Vec::new()).expect("an answer");
        });
    }),
    Case::new("idle-event-stream", "equilibriumco/beerus#629", NOTHING, |stage| {
        let handler = || async {
            let events = futures::stream::iter(0..3).then(|number| async move {
                tokio::time::sleep(LONG / 3).await;
                Ok::<_, std::convert::Infallible>(format!("data: {number}\n\n"))
            });
            Body::from_stream(events)
        };
        stage.get("/", Router::new().route("/", get(handler)));
    }),
    Case::new("allowed-at-start", "nymtech/nym-vpn-client#1767", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                tower_stall::allow_blocking("read config at start", || sleep(LONG));
            }),
        );
    }),
    Case::new("timeout-that-fires", "shuttle-hq/shuttle#468", NOTHING, |stage| {
        stage.get(
            "/",
            answer(|| async {
                let never = std::future::pending::<()>();
                let _ = tokio::time::timeout(LONG, never).await;
            }),
        );
    }),
    Case::new("task-awaits-for-long", "tokio-rs/console#150", NOTHING, |stage| {
        stage.spawn(async { tokio::time::sleep(LONG * 2).await });
    }),
];

/// A router that answers `GET /` by that.
fn answer<H, F>(handler: H) -> Router
where
    H: FnOnce() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    Router::new().route("/", get(handler))
}

/// Computes for so long.
fn spin(time: Duration) {
    let start = std::time::Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}
