//! How many series there are: what strangers send adds none, and services of the ordinary size
//! stay within the budget.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use tower::ServiceExt;

use crate::support::{LIMIT, Rig, metric, samples, wait_for, wait_until};

const MOST_IDLE: usize = 120;
const MOST_BUSY: usize = 500;

fn series(rig: &Rig) -> usize {
    samples(&rig.metrics()).count()
}

/// Series that are there as soon as the first tick woke.
fn idle(rig: &Rig) -> usize {
    wait_until(LIMIT, || {
        let main = [("runtime", "main")];
        rig.metric("tokio_event_loop_lag_seconds_count", &main).is_some_and(|count| count > 0.0)
    });
    series(rig)
}

async fn send(app: &Router, method: &str, path: &str, content_type: &str) {
    let request = http::Request::builder().method(method).uri(path);
    let request = request.header("content-type", content_type).body(Body::empty());
    let response = app.clone().oneshot(request.expect("a request")).await.expect("an answer");
    drop(http_body_util::BodyExt::collect(response.into_body()).await);
    // Nothing above waits: a hundred thousand of them would be one poll.
    tokio::task::yield_now().await;
}

#[test]
fn a_hundred_thousand_strange_requests_add_no_label() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("GET /users/{id}");
    let blocking = get(async move || block.run());
    let app = Router::new()
        .route("/hello", axum::routing::any(async || "hello"))
        .route("/users/{id}", blocking)
        .layer(rig.stall.layer());
    let before = idle(&rig);
    assert!(before <= MOST_IDLE, "{before} series idle");

    let sends = (0..2).map(|half| {
        let app = app.clone();
        rig.runtime.spawn(async move {
            for number in (half..40_000).step_by(2) {
                send(&app, "GET", &format!("/no/such/page-{number}"), "text/plain").await;
            }
            for number in (half..30_000).step_by(2) {
                send(&app, &format!("FOO{number}"), "/hello", "text/plain").await;
            }
            for number in (half..30_000).step_by(2) {
                let path = format!("/made.Up{number}/Method");
                send(&app, "POST", &path, "application/grpc").await;
            }
        })
    });
    for sent in sends.collect::<Vec<_>>() {
        rig.runtime.block_on(sent).expect("no panic");
    }
    let page = rig.metrics();
    // The last where the machine is so busy that a poll had no CPU for long.
    let known =
        ["GET /users/{id}", "_OTHER /hello", "unmatched", "poll_ready", "other", "environment"];
    let strange = samples(&page)
        .flat_map(|sample| sample.labels)
        .find(|(name, value)| *name == "handler" && !known.contains(value));
    assert_eq!(strange, None);
    let after = samples(&page).count();
    assert!(after <= MOST_IDLE, "{after} series after the flood, {before} before");

    // A real handler that comes late still has its label.
    let app = app.clone();
    rig.run(async move { send(&app, "GET", "/users/7", "text/plain").await });
    rig.one_stall("GET /users/{id}");
}

#[test]
fn forty_handlers_of_which_ten_stall_stay_within_the_budget() {
    let rig = Rig::new(4, |builder| builder);
    let mut app = Router::new();
    for number in 0..40 {
        let handler = post(async move || {
            // Long enough to be met by a scan, too short to be a stall.
            std::thread::sleep(Duration::from_millis(40));
        });
        let handler = if number < 10 {
            let label: &'static str = format!("GET /resource-{number}/{{id}}").leak();
            let block = rig.block(label);
            handler.get(async move || block.run())
        } else {
            handler.get(async || std::thread::sleep(Duration::from_millis(40)))
        };
        app = app.route(&format!("/resource-{number}/{{id}}"), handler);
    }
    let app = app.layer(rig.stall.layer());
    for number in 0..40 {
        let label = format!("GET /resource-{number}/{{id}}");
        let page = wait_for(LIMIT, || {
            let app = app.clone();
            let path = format!("/resource-{number}/7");
            rig.run(async move { send(&app, "GET", &path, "text/plain").await });
            let page = rig.metrics();
            let busy = "tokio_handler_busy_seconds_total";
            metric(&page, busy, &[("handler", &label)]).map(|_| page)
        });
        if number < 10 {
            let labels = [("runtime", "main"), ("handler", &label)];
            assert!(metric(&page, "tokio_stalls_total", &labels) >= Some(1.0), "{label}");
        }
    }
    let all = series(&rig);
    assert!(all <= MOST_BUSY, "{all} series");
}
