//! One request to a router.

use std::future::Future;
use std::panic::{Location, resume_unwind};
use std::time::Duration;

use axum::body::{Bytes, HttpBody, to_bytes};
use axum::{BoxError, Router};
use http::{Request, Response};
use tokio::task::JoinSet;
use tower_service::Service;

use super::NoStalls;

/// Sends a request to a router and reads the whole answer; panics if anything blocked for
/// `threshold` meanwhile, with the template of the route as the handler.
///
/// The request runs as a task of the runtime, as in a service. A panic of the handler comes
/// through as it is.
///
/// ```
/// # use std::time::Duration;
/// # use axum::{Router, body::Body, http::Request, routing::get};
/// # async fn test() {
/// let app = Router::new().route("/users/{id}", get(async || "Ada"));
/// let request = Request::get("/users/7").body(Body::empty()).unwrap();
/// let answer = tower_stall::testing::call(Duration::from_millis(100), app, request).await;
/// assert_eq!(answer.into_body(), "Ada");
/// # }
/// # tokio::runtime::Runtime::new().unwrap().block_on(test());
/// ```
///
/// # Panics
///
/// As [`assert_no_stalls`](super::assert_no_stalls) does, and of an answer whose body breaks off.
#[track_caller]
pub fn call<B>(
    threshold: Duration,
    router: Router,
    request: Request<B>,
) -> impl Future<Output = Response<Bytes>>
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let place = Location::caller();
    async move {
        let guard = NoStalls::start("call", threshold, place);
        let mut router = router.layer(guard.layer());
        // Ends with this future.
        let mut task = JoinSet::new();
        task.spawn(async move {
            let answer = match router.call(request).await {
                Ok(answer) => answer,
                Err(never) => match never {},
            };
            let (head, body) = answer.into_parts();
            let body = to_bytes(body, usize::MAX).await;
            Response::from_parts(head, body.unwrap_or_else(|error| panic!("the body: {error}")))
        });
        let answer = match task.join_next().await.expect("one was spawned") {
            Ok(answer) => answer,
            Err(error) => resume_unwind(error.into_panic()),
        };
        drop(guard);
        answer
    }
}
