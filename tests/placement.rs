//! The table of places in the documentation of the layer: what a stall is called at each.
#![cfg(feature = "axum")]

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use tower::{Service, ServiceBuilder, ServiceExt};
use tower_stall::{StallDetector, StallLayer};

async fn blocks() {
    std::thread::sleep(Duration::from_millis(60));
}

/// The handlers blamed after one request to `path` of the service that `place` makes.
async fn blamed<S>(place: impl FnOnce(StallLayer) -> S, path: &'static str) -> Vec<&'static str>
where
    S: Service<Request<Body>, Error = std::convert::Infallible> + Send + 'static,
    S::Future: Send,
    S::Response: Send,
{
    let stall = StallDetector::builder()
        .threshold(Duration::from_millis(20))
        .start()
        .expect("the settings are right");
    let service = place(stall.layer());
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let answered = tokio::spawn(async move { service.oneshot(request).await.map(drop) });
    answered.await.expect("it does not panic").expect("infallible");
    for _ in 0..20 {
        if !stall.stalls().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    stall.stalls().iter().map(|stall| stall.handler).collect()
}

fn users() -> Router {
    Router::new().route("/users/{id}", get(blocks))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_place_gives_the_label_that_the_docs_say() {
    let path = "/users/7";
    assert_eq!(blamed(|layer| users().layer(layer), path).await, ["GET /users/{id}"]);
    assert_eq!(blamed(|layer| users().route_layer(layer), path).await, ["GET /users/{id}"]);
    let method = |layer| Router::new().route("/users/{id}", get(blocks).layer(layer));
    assert_eq!(blamed(method, path).await, ["GET /users/{id}"]);

    let inside = |layer| Router::new().nest("/api", users().layer(layer));
    assert_eq!(blamed(inside, "/api/users/7").await, ["GET /api/users/{id}"]);
    let around = |layer| Router::new().nest("/api", users()).layer(layer);
    assert_eq!(blamed(around, "/api/users/7").await, ["GET /api/users/{id}"]);
    let merged = |layer| Router::new().merge(users().layer(layer));
    assert_eq!(blamed(merged, path).await, ["GET /users/{id}"]);

    let fallback = |layer| Router::new().fallback(blocks).layer(layer);
    assert_eq!(blamed(fallback, path).await, ["unmatched"]);
    let whole = |layer| ServiceBuilder::new().layer(layer).service(users());
    assert_eq!(blamed(whole, path).await, ["unmatched"]);
    let late = |layer| Router::new().layer(layer).route("/users/{id}", get(blocks));
    assert_eq!(blamed(late, path).await, [""; 0]);

    let around = |layer| Router::new().nest_service("/api", users()).layer(layer);
    assert_eq!(blamed(around, "/api/users/7").await, ["unmatched"]);
    let inside = |layer| Router::new().nest_service("/api", users().layer(layer));
    assert_eq!(blamed(inside, "/api/users/7").await, ["GET /api/users/{id}"]);
}
