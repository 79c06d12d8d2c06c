//! What the layer covers, in real axum services: each way to block a request is recorded once,
//! while it lasts, under the request's label.

use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use http_body::Frame;
use tower::{Layer, Service};

use crate::support::{Block, LIMIT, Rig, fetch, wait_until};

/// A body of one frame that blocks where it is told to.
struct BlockingBody {
    frame: Option<Block>,
    drop: Option<Block>,
    data: Option<Bytes>,
}

impl http_body::Body for BlockingBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = self.data.take();
        if let (Some(_), Some(block)) = (&data, &self.frame) {
            block.run();
        }
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }
}

impl Drop for BlockingBody {
    fn drop(&mut self) {
        if let Some(block) = &self.drop {
            block.run();
        }
    }
}

/// A service that blocks before it has a future.
#[derive(Clone)]
struct Blocking {
    ready: Option<Block>,
    call: Option<Block>,
}

impl Service<Request> for Blocking {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if let Some(block) = &self.ready {
            block.run();
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request) -> Self::Future {
        if let Some(block) = &self.call {
            block.run();
        }
        std::future::ready(Ok(Response::new(Body::from("done"))))
    }
}

/// Serves `app`, fetches `/here` once and checks the one record that makes.
fn check(rig: &Rig, app: Router, handler: &str) {
    let address = rig.serve(app);
    assert_eq!(fetch(address, "/here"), (200, "done".to_owned()));
    let stall = rig.one_stall(handler);
    assert_eq!((&*stall.runtime, stall.workers), ("main", 2));
    assert!(stall.worker.is_some_and(|worker| worker < 2), "{stall:?}");
}

#[test]
fn a_poll_of_the_handler() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("GET /here");
    let handler = async move || {
        tokio::task::yield_now().await;
        block.run();
        "done"
    };
    check(&rig, Router::new().route("/here", get(handler)).layer(rig.stall.layer()), "GET /here");
}

#[test]
fn the_synchronous_part_of_call() {
    let rig = Rig::new(2, |builder| builder);
    let service = Blocking { ready: None, call: Some(rig.block("GET /here")) };
    // Around the service itself: a Router calls its services in polls.
    let service = rig.stall.layer().layer(service);
    check(&rig, Router::new().route_service("/here", service), "GET /here");
}

#[test]
fn poll_ready_which_has_no_request() {
    let rig = Rig::new(2, |builder| builder);
    let service = Blocking { ready: Some(rig.block("poll_ready")), call: None };
    let service = rig.stall.layer().layer(service);
    check(&rig, Router::new().route_service("/here", service), "poll_ready");
}

#[test]
fn a_frame_of_the_body() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("GET /here");
    let handler = async move || {
        let data = Some(Bytes::from("done"));
        Body::new(BlockingBody { frame: Some(block.clone()), drop: None, data })
    };
    check(&rig, Router::new().route("/here", get(handler)).layer(rig.stall.layer()), "GET /here");
}

#[test]
fn the_drop_of_the_body() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("GET /here");
    let handler = async move || {
        let data = Some(Bytes::from("done"));
        Body::new(BlockingBody { frame: None, drop: Some(block.clone()), data })
    };
    check(&rig, Router::new().route("/here", get(handler)).layer(rig.stall.layer()), "GET /here");
}

#[test]
fn the_drop_of_a_request_whose_client_is_gone() {
    struct OnDrop(Block);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.run();
        }
    }

    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("GET /here");
    let arrived = Arc::new(AtomicBool::new(false));
    let tell = Arc::clone(&arrived);
    let handler = async move || {
        let _held = OnDrop(block.clone());
        tell.store(true, Ordering::Release);
        std::future::pending::<&str>().await
    };
    let app = Router::new().route("/here", get(handler)).layer(rig.stall.layer());
    let mut client = TcpStream::connect(rig.serve(app)).expect("a connection");
    client.write_all(b"GET /here HTTP/1.1\r\nhost: here\r\n\r\n").expect("a request");
    wait_until(LIMIT, || arrived.load(Ordering::Acquire));
    assert!(rig.long_stalls().is_empty());
    drop(client);
    rig.one_stall("GET /here");
}

#[test]
fn the_upload_that_a_handler_reads_is_its_own_time() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("POST /here");
    let handler = async move |body: Bytes| {
        block.run();
        body
    };
    let app = Router::new().route("/here", axum::routing::post(handler)).layer(rig.stall.layer());
    let mut client = TcpStream::connect(rig.serve(app)).expect("a connection");
    let request =
        b"POST /here HTTP/1.1\r\nhost: here\r\nconnection: close\r\ncontent-length: 4\r\n\r\ndone";
    client.write_all(request).expect("a request");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert!(answer.ends_with("done"), "{answer}");
    rig.one_stall("POST /here");
}
