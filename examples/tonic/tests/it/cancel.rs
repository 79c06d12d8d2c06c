//! What a client stops or does not read stops the service too, with the layer as without.

use std::time::Duration;

use echo::v1::{Answer, Ask};
use tonic::Streaming;

use super::support::{FOREVER, Server, WITHOUT, WORKERS, wait_for};

/// Times that the figures have to be the same in a row.
const LOOKS: u32 = 40;
const SIZE: u32 = 16 << 10;

async fn endless(server: &Server, ask: Ask) -> Streaming<Answer> {
    let ask = Ask { messages: u32::MAX, ..ask };
    server.client().server_stream(ask).await.expect("a stream").into_inner()
}

async fn read(answers: &mut Streaming<Answer>, count: u32) {
    for _ in 0..count {
        assert!(answers.message().await.expect("no error").is_some());
    }
}

async fn open(server: &Server, expected: u64) {
    wait_for(async || (server.figures().await.open == expected).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_cancelled_is_dropped_in_the_service() {
    for flags in [WORKERS, WITHOUT] {
        let server = Server::start(flags).await;
        for stalled in [false, true] {
            if stalled {
                server.stall().await;
            }
            let before = server.figures().await.open;
            let wait = Ask { wait_ms: FOREVER, ..Ask::default() };

            let (mut client, ask) = (server.client(), wait.clone());
            let unary = tokio::spawn(async move { client.unary(ask).await.map(drop) });
            open(&server, before + 1).await;
            unary.abort();
            open(&server, before).await;

            let (mut client, ask) = (server.client(), wait.clone());
            let asks = tokio_stream::once(ask);
            let upload = tokio::spawn(async move { client.client_stream(asks).await.map(drop) });
            open(&server, before + 1).await;
            upload.abort();
            open(&server, before).await;

            let mut answers = endless(&server, Ask { wait_ms: 5, ..Ask::default() }).await;
            read(&mut answers, 3).await;
            assert_eq!(server.figures().await.open, before + 1);
            drop(answers);
            open(&server, before).await;

            let answers = server.client().bidi(tokio_stream::once(wait)).await;
            assert_eq!(server.figures().await.open, before + 1);
            drop(answers.expect("a stream"));
            open(&server, before).await;
        }
    }
}

/// How many messages are made for a client that reads none.
async fn made_unread(server: &Server) -> u64 {
    let mut answers = endless(server, Ask { size: SIZE, ..Ask::default() }).await;
    let (mut made, mut looks) = (server.figures().await.made, 0);
    while looks < LOOKS {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = server.figures().await.made;
        looks = if now == made { looks + 1 } else { 0 };
        made = now;
    }
    // It goes on when they are read.
    read(&mut answers, 1 + u32::try_from(made).expect("a small number")).await;
    assert!(server.figures().await.made > made);
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_nobody_reads_stops_after_as_many_messages() {
    let (with, without) = (Server::start(WORKERS).await, Server::start(WITHOUT).await);
    let (with, without) = (made_unread(&with).await, made_unread(&without).await);
    println!("made unread: {with} with the layer, {without} without");
    // 16 MiB; a service that does not stop makes that many in a moment.
    assert!(with < 1000 && without < 1000, "{with} {without}");
    assert!(with > 0 && with.abs_diff(without) <= 64, "{with} {without}");
}
