//! Clients that go away, and clients that do not read.

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use futures_util::stream;
use http::StatusCode;

use super::both::{self, Both, connect, first_data, full, send};
use crate::support::{LIMIT, wait_until};

const FRAME: usize = 64 << 10;
/// 64 MiB of frames: more than sockets and windows hold, far less than comes in a second.
const MOST_FRAMES: usize = 1 << 10;

/// What the servers under test count, one after the other.
#[derive(Clone, Debug, Default)]
struct Counts {
    arrived: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    frames: Arc<AtomicUsize>,
}

struct Held(Counts);

impl Counts {
    fn hold(&self) -> Held {
        self.arrived.fetch_add(1, Ordering::AcqRel);
        Held(self.clone())
    }

    /// Waits until that many have arrived and that many of them were dropped.
    #[track_caller]
    fn wait_for(&self, arrived: usize, dropped: usize) {
        let now = || {
            let load = |count: &AtomicUsize| count.load(Ordering::Acquire);
            (load(&self.arrived), load(&self.dropped))
        };
        wait_until(LIMIT, || now() == (arrived, dropped));
    }

    /// Waits until the producer has stopped, and says after how many frames.
    #[track_caller]
    fn stopped(&self) -> usize {
        let (mut last, mut since) = (0, Instant::now());
        wait_until(LIMIT, || {
            let frames = self.frames.load(Ordering::Acquire);
            if frames != last {
                (last, since) = (frames, Instant::now());
            }
            frames > MOST_FRAMES || (frames > 0 && since.elapsed() > Duration::from_secs(1))
        });
        assert!(last <= MOST_FRAMES, "nobody reads, and it goes on");
        last
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::AcqRel);
    }
}

/// Frames without an end.
fn endless(counts: &Counts) -> Body {
    let held = counts.hold();
    Body::from_stream(stream::unfold(held, async |held| {
        held.0.frames.fetch_add(1, Ordering::AcqRel);
        Some((Ok::<_, Infallible>(Bytes::from_static(&[7; FRAME])), held))
    }))
}

fn serve() -> (Both, Counts) {
    let counts = Counts::default();
    let both = Both::new(|place, _| {
        let [waits, streams] = [(); 2].map(|()| counts.clone());
        let waits = async move || {
            let _held = waits.hold();
            std::future::pending::<&str>().await
        };
        place.on(Router::new()
            .route("/waits", get(waits))
            .route("/endless", get(async move || endless(&streams)))
            .route("/hello", get("hello")))
    });
    (both, counts)
}

/// Closes the connection while the handler waits, then in the middle of a body.
fn gone_by_http1(counts: &Counts, address: SocketAddr) {
    let client = send(address, &both::get("/waits"));
    counts.wait_for(1, 0);
    drop(client);
    counts.wait_for(1, 1);
    let mut client = send(address, &both::get("/endless"));
    client.read_exact(&mut [0; 1000]).expect("a beginning");
    counts.wait_for(2, 1);
    drop(client);
    counts.wait_for(2, 2);
}

/// The same with streams of one connection, which goes on.
async fn gone_by_http2(counts: &Counts, address: SocketAddr) {
    let mut client = connect(address).await;
    let wait = async |arrived, dropped| {
        let counts = counts.clone();
        let wait = move || counts.wait_for(arrived, dropped);
        tokio::task::spawn_blocking(wait).await.expect("it happens");
    };
    let waiting = tokio::spawn(client.send_request(full(&both::get("/waits"))));
    wait(3, 2).await;
    waiting.abort();
    wait(3, 3).await;
    let answer = client.send_request(full(&both::get("/endless"))).await;
    let mut body = answer.expect("an answer").into_body();
    assert!(!first_data(&mut body).await.is_empty());
    wait(4, 3).await;
    drop(body);
    wait(4, 4).await;
    let answer = client.send_request(full(&both::get("/hello"))).await;
    assert_eq!(answer.expect("an answer").status(), StatusCode::OK);
}

#[test]
fn what_a_client_left_is_dropped() {
    for is_layered in [false, true] {
        let (both, counts) = serve();
        let address = if is_layered { both.layered } else { both.bare };
        gone_by_http1(&counts, address);
        both.clients.block_on(gone_by_http2(&counts, address));
        assert!(both.rig.long_stalls().is_empty());
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_producer() {
    let (both, counts) = serve();
    for address in [both.bare, both.layered] {
        counts.frames.store(0, Ordering::Release);
        let mut client = send(address, &both::get("/endless"));
        let stopped = counts.stopped();
        // As much as was made, and more: it goes on with who reads.
        let mut data = vec![0; FRAME];
        (0..=stopped).for_each(|_| client.read_exact(&mut data).expect("data"));
        assert!(counts.frames.load(Ordering::Acquire) > stopped);
    }
}

#[test]
fn nor_does_a_window_of_http2_fill_up_for_ever() {
    let (both, counts) = serve();
    let frames = [both.bare, both.layered].map(|address| {
        counts.frames.store(0, Ordering::Release);
        both.clients.block_on(async {
            let mut client = connect(address).await;
            let answer = client.send_request(full(&both::get("/endless"))).await;
            let mut body = answer.expect("an answer").into_body();
            let count = counts.clone();
            let stopped = tokio::task::spawn_blocking(move || count.stopped()).await;
            let stopped = stopped.expect("it stops");
            let mut read = 0;
            while read <= stopped * FRAME {
                read += first_data(&mut body).await.len();
            }
            assert!(counts.frames.load(Ordering::Acquire) > stopped);
            stopped
        })
    });
    assert_eq!(frames[0], frames[1], "the same window, the same number of frames");
}
