//! `call`: one request to a router.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Path;
use axum::routing::get;
use http::{Request, StatusCode};
use http_body::Frame;
use tower_stall::testing::call;

use crate::blocks::{
    SLEEPS, SLEPT, STACKS, THRESHOLD, assert_says, at, failure, failure_with_stack, on_each_kind,
    sleeps,
};

async fn shows(Path(id): Path<u32>) -> (StatusCode, String) {
    if id == 13 {
        sleeps();
    }
    assert_ne!(id, 14, "no such luck");
    tokio::time::sleep(THRESHOLD * 4).await;
    (StatusCode::CREATED, format!("user {id}"))
}

/// A body whose only frame is long in the making.
struct Late(bool);

impl HttpBody for Late {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let first = !std::mem::replace(&mut self.0, true);
        Poll::Ready(first.then(|| {
            sleeps();
            Ok(Frame::data(Bytes::from("late")))
        }))
    }
}

async fn streams() -> Body {
    Body::new(Late(false))
}

fn app() -> Router {
    Router::new().route("/users/{id}", get(shows)).route("/stream", get(streams))
}

fn request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).expect("a request")
}

#[test]
fn the_answer_comes_whole() {
    on_each_kind(|runtime| {
        let answer = runtime.block_on(call(THRESHOLD, app(), request("/users/7")));
        assert_eq!(answer.status(), StatusCode::CREATED);
        assert_eq!(answer.into_body(), "user 7");
        let missing = runtime.block_on(call(THRESHOLD, app(), request("/nothing")));
        assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    });
}

#[test]
fn a_handler_that_blocks_fails_with_its_route() {
    on_each_kind(|runtime| {
        let line = line!() + 1;
        let text = failure_with_stack(runtime, || call(THRESHOLD, app(), request("/users/13")));
        let begin = format!("call at tests/testing/calls.rs:{line}:");
        let says = ["\nGET /users/{id} blocked worker ", SLEPT, "fix: use"];
        assert_says(&text, &begin, &says);
        if STACKS {
            assert_says(&text, "", &[&at(SLEEPS), "testing::calls::shows"]);
        }
    });
}

#[test]
fn a_body_that_blocks_fails_too() {
    on_each_kind(|runtime| {
        let text = failure(runtime, call(THRESHOLD, app(), request("/stream")));
        assert_says(&text, "call at ", &["\nGET /stream blocked worker ", ": sleep"]);
    });
}

#[test]
fn a_panic_of_the_handler_wins() {
    on_each_kind(|runtime| {
        let text = failure(runtime, call(THRESHOLD, app(), request("/users/14")));
        assert!(text.contains("no such luck"), "{text}");
    });
}
