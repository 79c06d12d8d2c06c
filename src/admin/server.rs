//! Connections.
//!
//! Each serves one request: none waits idle for another, no answers pile up for a client that does not
//! read them, and a place is kept for as long as one answer takes.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::guard::Local;
use super::places::{Place, Places};

/// Connections that are accepted before those that are there have their turn; far fewer than places.
const A_TURN: usize = 32;
/// Time limit for the head of a request.
const LONGEST_HEAD: Duration = Duration::from_secs(5);
/// Largest head of a request, in bytes. What is not sent yet of an answer has as much.
const LARGEST_HEAD: usize = 16 * 1024;
/// Time limit of a connection.
const LONGEST_CONNECTION: Duration = Duration::from_secs(120);
/// Pause after an error of `accept`, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until it is dropped.
pub(super) async fn accept(listener: Arc<TcpListener>, router: Router, places: Places) {
    loop {
        for _ in 0..A_TURN {
            match listener.accept().await {
                Ok((stream, peer)) => accepted(stream, peer, &router, &places),
                Err(_) => {
                    // The next one may lack no more than the descriptor of an idle one.
                    places.give_way();
                    sleep(PAUSE).await;
                }
            }
        }
        // All of them begin before the first one is over, and learn that their requests are there before
        // the second one is. So none gives way to another before its request is read.
        yield_now().await;
        yield_now().await;
    }
}

fn accepted(stream: TcpStream, peer: SocketAddr, router: &Router, places: &Places) {
    let (place, lost) = places.take(peer.ip());
    let local = stream.local_addr().ok().map(Local);
    tokio::spawn(connection(stream, local, router.clone(), place, lost));
}

/// Serves a request, until its end or until the place is lost.
pub(super) async fn connection(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    local: Option<Local>,
    router: Router,
    place: Place,
    mut lost: oneshot::Receiver<()>,
) {
    let place = Arc::new(place);
    let asked = Arc::clone(&place);
    let router = router.map_request(move |mut request: hyper::Request<Incoming>| {
        asked.has_asked();
        if let Some(local) = local {
            request.extensions_mut().insert(local);
        }
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD)
        .max_buf_size(LARGEST_HEAD)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let end = poll_fn(|cx| match pin!(&mut lost).poll(cx) {
        Poll::Ready(_) => Poll::Ready(Ok(())),
        Poll::Pending => connection.as_mut().poll(cx),
    });
    // Other errors are the client's: a broken request, a closed connection.
    let is_late = timeout(LONGEST_CONNECTION, end)
        .await
        .map_or(true, |end| end.is_err_and(|error| error.is_timeout()));
    if is_late {
        place.count_as_late();
    }
}
