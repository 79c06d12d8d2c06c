//! Connections.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::guard::Local;

/// Connections at a time; further ones wait in the listener's backlog.
const MOST_CONNECTIONS: usize = 256;
/// Time limit for the head of a request, which also ends idle keep-alive connections.
const LONGEST_HEAD: Duration = Duration::from_secs(5);
/// Largest head of a request, in bytes.
const LARGEST_HEAD: usize = 16 * 1024;
/// Time limit of a connection; a scraper opens another.
const LONGEST_CONNECTION: Duration = Duration::from_secs(120);
/// Time for the answer in progress after that.
const GRACE: Duration = Duration::from_secs(5);
/// Pause after an error of `accept`, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let router = router.clone();
                tokio::spawn(async move {
                    connection(stream, router).await;
                    drop(place);
                });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn connection(stream: TcpStream, router: Router) {
    let local = stream.local_addr().ok().map(Local);
    let router = router.map_request(move |mut request: hyper::Request<Incoming>| {
        if let Some(local) = local {
            request.extensions_mut().insert(local);
        }
        request
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(LONGEST_HEAD)
        .max_buf_size(LARGEST_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    // Errors are the client's: a broken request, a closed connection.
    if timeout(LONGEST_CONNECTION, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        drop(timeout(GRACE, connection).await);
    }
}
