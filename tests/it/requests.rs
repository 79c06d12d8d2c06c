//! What a record tells of the request: how many were in flight, its trace, its layer's threshold.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use http_body_util::BodyExt;
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::support::{LIMIT, Rig, THRESHOLD, block_until, is_own, runtime, wait_for, wait_until};

fn request(path: &str) -> Request {
    http::Request::get(path).body(Body::empty()).expect("a request")
}

#[test]
fn requests_in_flight_are_those_inside_the_layer() {
    let rig = Rig::new(2, |builder| builder);
    let release = Arc::new(Notify::new());
    let wait = Arc::clone(&release);
    let block = rig.block("GET /block");
    let app = Router::new()
        .route("/wait", get(async move || wait.notified().await))
        .route("/body", get(async || "held by the client"))
        .route("/block", get(async move || block.run()))
        .layer(rig.stall.layer());
    let waiting: Vec<_> =
        (0..5).map(|_| rig.runtime.spawn(app.clone().oneshot(request("/wait")))).collect();
    // An answer counts until its body is gone.
    let held = rig.run(app.clone().oneshot(request("/body"))).expect("an answer");
    // Workers take what was spawned first sooner or later: ask until all five are inside.
    let all_inside = wait_for(LIMIT, || {
        drop(rig.run(app.clone().oneshot(request("/block"))));
        let stalls = rig.stall.stalls();
        let newest = stalls.iter().find(|stall| stall.handler == "GET /block").cloned();
        newest.filter(|stall| stall.requests_in_flight >= 7)
    });
    assert_eq!(all_inside.requests_in_flight, 7, "5 wait, 1 body is held, and itself");

    drop(held);
    release.notify_waiters();
    for waiting in waiting {
        drop(rig.runtime.block_on(waiting).expect("no panic"));
    }
    drop(rig.run(app.clone().oneshot(request("/block"))));
    wait_until(LIMIT, || {
        rig.stall.stalls()[0].id > all_inside.id && rig.stall.stalls()[0].handler == "GET /block"
    });
    assert_eq!(rig.stall.stalls()[0].requests_in_flight, 1);
}

#[test]
fn requests_held_up_are_counted_while_they_come() {
    let rig = Rig::new(2, |builder| builder);
    let other = runtime(1);
    rig.stall.watch("other", other.handle());
    let seen = Arc::clone(&rig.stall);
    let delays = move |requests| {
        let of_block = |stall: &tower_stall::Stall| {
            stall.handler == "GET /block" && stall.delayed_requests >= requests
        };
        seen.stalls().iter().any(of_block)
    };
    let until = delays.clone();
    let app = Router::new()
        .route("/wait", get(async || std::future::pending::<()>().await))
        .route("/block", get(async move || block_until(|| until(3))))
        .layer(rig.stall.layer());
    let wait_on = |runtime: &tokio::runtime::Runtime| {
        let (app, inside) = (app.clone(), std::sync::mpsc::channel());
        let waiting = runtime.spawn(async move {
            let mut waiting = std::pin::pin!(app.oneshot(request("/wait")));
            let first = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())
            });
            assert!(first.await);
            inside.0.send(()).expect("the test waits");
            waiting.await
        });
        inside.1.recv_timeout(LIMIT).expect("it is polled");
        waiting
    };
    // On another runtime: held up by nobody.
    let elsewhere = [wait_on(&other), wait_on(&other)];
    let before = wait_on(&rig.runtime);
    let blocked = rig.runtime.spawn(app.clone().oneshot(request("/block")));
    wait_until(LIMIT, || delays(1));
    // The other worker takes these meanwhile.
    let meanwhile = [wait_on(&rig.runtime), wait_on(&rig.runtime)];
    drop(rig.runtime.block_on(blocked).expect("no panic"));
    let stall = wait_for(LIMIT, || {
        let mut stalls = rig.stall.stalls().into_iter();
        stalls.find(|stall| stall.handler == "GET /block" && !stall.in_progress)
    });
    assert_eq!(stall.delayed_requests, 3, "{stall:#?}");
    let (at_begin, at_end) = (stall.requests_in_flight, stall.requests_in_flight_at_end);
    // Itself and those elsewhere are inside too.
    assert!(at_begin >= 4 && at_end.is_some_and(|end| end >= at_begin), "{stall:#?}");
    let handler = [("handler", "GET /block")];
    wait_until(LIMIT, || rig.metric("tokio_stall_delayed_requests_total", &handler) == Some(3.0));
    for waiting in elsewhere.into_iter().chain([before]).chain(meanwhile) {
        waiting.abort();
    }
}

#[test]
fn cancelled_requests_are_not_in_flight() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("GET /block");
    let app = Router::new()
        .route("/wait", get(async || std::future::pending::<()>().await))
        .route("/block", get(async move || block.run()))
        .layer(rig.stall.layer());
    let cancelled = app.clone();
    rig.run(async move {
        for _ in 0..10 {
            let waiting = cancelled.clone().oneshot(request("/wait"));
            assert!(tokio::time::timeout(Duration::from_millis(1), waiting).await.is_err());
        }
    });
    drop(rig.run(app.oneshot(request("/block"))));
    assert_eq!(rig.one_stall("GET /block").requests_in_flight, 1);
}

#[test]
fn the_trace_id_is_that_of_traceparent() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("GET /block");
    let app =
        Router::new().route("/block", get(async move || block.run())).layer(rig.stall.layer());
    let mut request = request("/block");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.headers_mut().insert("traceparent", traceparent.parse().expect("a header"));
    drop(rig.run(app.oneshot(request)));
    let stall = rig.one_stall("GET /block");
    assert_eq!(stall.trace_id, Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
}

#[test]
fn a_request_without_one_has_none_even_after_one_with() {
    let rig = Rig::new(1, |builder| builder);
    let block = rig.block("GET /block");
    let app = Router::new()
        .route("/block", get(async move || block.run()))
        .route("/quick", get(async || ""))
        .layer(rig.stall.layer());
    let mut traced = request("/quick");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    traced.headers_mut().insert("traceparent", traceparent.parse().expect("a header"));
    drop(rig.run(app.clone().oneshot(traced)));
    drop(rig.run(app.oneshot(request("/block"))));
    assert_eq!(rig.one_stall("GET /block").trace_id, None);
}

#[test]
fn or_it_comes_from_a_function() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("GET /block");
    let layer = rig.stall.layer().trace_id(|request| {
        let id = request.headers().get("x-request-id")?.to_str().ok()?;
        id.parse().ok()
    });
    let app = Router::new().route("/block", get(async move || block.run())).layer(layer);
    let mut request = request("/block");
    request.headers_mut().insert("x-request-id", "4711".parse().expect("a header"));
    drop(rig.run(app.oneshot(request)));
    assert_eq!(rig.one_stall("GET /block").trace_id, Some(4711));
}

#[test]
fn a_body_has_the_trace_of_its_request() {
    let rig = Rig::new(2, |builder| builder);
    let block = rig.block("GET /block");
    let body = move || {
        let block = block.clone();
        let frame = std::future::ready(Some(Ok(http::HeaderMap::new())));
        let trailers = async move {
            block.run();
            frame.await
        };
        let full = http_body_util::Full::new(axum::body::Bytes::from("data"));
        Body::new(full.with_trailers(Box::pin(trailers)))
    };
    let app = Router::new().route("/block", get(async move || body())).layer(rig.stall.layer());
    let mut request = request("/block");
    let traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    request.headers_mut().insert("traceparent", traceparent.parse().expect("a header"));
    let response = rig.run(app.oneshot(request)).expect("an answer");
    rig.run(async move { drop(response.into_body().collect().await) });
    let stall = rig.one_stall("GET /block");
    assert_eq!(stall.trace_id, Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736));
}

#[test]
fn a_layer_has_a_threshold_of_its_own() {
    let long = Duration::from_secs(3);
    let rig = Rig::new(2, |builder| builder.threshold(long));
    let short = rig.stall.layer().threshold(Duration::from_millis(20));
    let stall = Arc::clone(&rig.stall);
    let seen = move |label: &'static str| {
        let stall = Arc::clone(&stall);
        async move || block_until(|| stall.stalls().iter().any(|stall| stall.handler == label))
    };
    let app = Router::new()
        .route("/strict", get(seen("GET /strict")))
        .layer(short)
        .merge(Router::new().route("/lax", get(seen("GET /lax"))).layer(rig.stall.layer()));
    for path in ["/strict", "/lax"] {
        drop(rig.run(app.clone().oneshot(request(path))));
    }
    let stalls = rig.stall.stalls();
    let counted_at = |label| {
        let stall = stalls.iter().find(|stall| stall.handler == label);
        stall.unwrap_or_else(|| panic!("{label} was seen")).duration
    };
    // Each blocked until it was seen: the first long before the detector's own threshold.
    assert!(counted_at("GET /strict") < long);
    assert!(counted_at("GET /lax") >= long);
}

/// Serves one request in which `names` are watched futures that block for so many milliseconds, each after
/// 300 ms of the request's own. Returns the handlers and durations of the stalls.
fn stalls_of(
    threshold: Duration,
    names: &'static [(&'static str, u64)],
) -> Vec<(String, Duration)> {
    let rig = Rig::new(2, |builder| builder);
    let stall = Arc::clone(&rig.stall);
    let handler = async move || {
        for (name, time) in names {
            std::thread::sleep(Duration::from_millis(300));
            let time = Duration::from_millis(*time);
            stall.watched(name, async move { std::thread::sleep(time) }).await;
        }
    };
    let layer = rig.stall.layer().threshold(threshold);
    let app = Router::new().route("/work", get(handler)).layer(layer);
    drop(rig.run(app.oneshot(request("/work"))).expect("an answer"));
    wait_until(LIMIT, || rig.stall.stalls().iter().all(|stall| !stall.in_progress));
    let mut stalls: Vec<_> = rig.stall.stalls().into_iter().filter(is_own).collect();
    stalls.sort_by_key(|stall| stall.id);
    stalls.into_iter().map(|stall| (stall.handler.into_owned(), stall.duration)).collect()
}

#[test]
fn a_name_inside_of_a_request_has_a_time_of_its_own() {
    let stalls = stalls_of(10 * LIMIT, &[("short", 50), ("long", 400), ("short", 50)]);
    let [(handler, duration)] = &stalls[..] else { panic!("one is long: {stalls:?}") };
    assert_eq!(handler, "long");
    assert!((200..700).contains(&duration.as_millis()), "of 400 ms of its own: {duration:?}");
}

#[test]
fn the_request_is_the_stall_where_it_was_long_before() {
    let stalls = stalls_of(THRESHOLD, &[("short", 50), ("long", 400)]);
    let [(handler, duration)] = &stalls[..] else { panic!("it is one poll: {stalls:?}") };
    assert_eq!(handler, "GET /work");
    assert!(duration.as_millis() >= 900, "{duration:?}");
}
