//! Requests that are turned away while their runtime is frozen.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use axum::routing::get;
use http_body_util::BodyExt;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_stall::ShedService;
use tower_stall::layer::RequestHead;

use super::MS;
use crate::support::*;

pub(super) type Answer = Result<Response<Body>, Infallible>;

pub(super) async fn hello(_: Request<Body>) -> Answer {
    Ok(Response::new(Body::from("hello")))
}

fn request(kind: &str) -> Request<Body> {
    Request::builder().header("content-type", kind).body(Body::empty()).expect("a request")
}

fn shed(rig: &Rig) -> f64 {
    rig.metric("tower_stall_shed_total", &[]).expect("from the start")
}

#[test]
fn requests_are_refused_during_a_freeze_and_admitted_after_it() {
    let rig = Rig::new(1, |builder| builder.shed_after(300 * MS));
    rig.wait_until_told("/readyz", 200, "ok");
    let layer = rig.stall.shed_layer().retry_after(Duration::from_millis(1500));
    let service: ShedService<_> = layer.layer(service_fn(hello));
    let (admitted, begin) = (service.clone(), Instant::now());
    let refused = rig.run(async move {
        let first = admitted.clone().oneshot(request("text/plain")).await.expect("no error");
        assert_eq!(first.status(), StatusCode::OK, "nobody is frozen yet");
        // One poll, in which it asks again and again: who sheds runs on a worker that is frozen.
        loop {
            std::thread::sleep(5 * MS);
            let answer = futures_util::FutureExt::now_or_never(
                admitted.clone().oneshot(request("text/plain")),
            );
            let answer = answer.expect("at once").expect("no error");
            if answer.status() != StatusCode::OK || begin.elapsed() > LIMIT {
                let grpc = admitted.oneshot(request("application/grpc+proto")).await;
                return (answer, grpc.expect("no error"));
            }
        }
    });
    let (http, grpc) = refused;
    assert_eq!(http.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(http.headers()["retry-after"], "2");
    assert!(begin.elapsed() >= 280 * MS, "not before its time: {:?}", begin.elapsed());
    assert_eq!(grpc.status(), StatusCode::OK);
    assert_eq!(grpc.headers()["grpc-status"], "14");
    assert_eq!(grpc.headers()["content-type"], "application/grpc");
    // The freeze is over: the next tick in time ends it.
    let start = Instant::now();
    loop {
        let answer = rig.run(service.clone().oneshot(request("text/plain"))).expect("no error");
        if answer.status() == StatusCode::OK {
            break;
        }
        assert!(start.elapsed() < LIMIT);
    }
    wait_until(LIMIT, || shed(&rig) >= 2.0);
}

#[test]
fn requests_are_admitted_after_a_freeze_however_far_the_next_tick_is() {
    let tick = Duration::from_secs(5);
    let rig = Rig::new(1, |builder| builder.shed_after(300 * MS).tick_interval(tick));
    rig.wait_until_told("/readyz", 200, "ok");
    let service = rig.stall.shed_layer().layer(service_fn(hello));
    let (gate, _opener) = rig.block_workers(1, "long");
    // A tick is late, and the next one comes after as long again.
    let age = || rig.metric("tokio_event_loop_heartbeat_age_seconds", &[]);
    wait_until(LIMIT, || age() >= Some(tick.as_secs_f64() + 0.5));
    gate.open();
    let start = Instant::now();
    let admits = || {
        let answer = rig.run(service.clone().oneshot(request("text/plain"))).expect("no error");
        answer.status() == StatusCode::OK
    };
    wait_until(LIMIT, admits);
    assert!(start.elapsed() < tick / 2, "after {:?}", start.elapsed());
}

#[test]
fn a_frozen_service_turns_its_backlog_away() {
    let rig = Rig::new(1, |builder| builder.shed_after(300 * MS));
    rig.wait_until_told("/readyz", 200, "ok");
    let block = rig.block("GET /block");
    let app = Router::new()
        .route("/block", get(move || async move { block.run() }))
        .route("/hello", get(|| async { "hello" }))
        .layer(rig.stall.layer())
        .layer(rig.stall.shed_layer());
    let address = rig.serve(app);
    assert_eq!(fetch(address, "/hello"), (200, "hello".to_owned()));
    assert_eq!(shed(&rig), 0.0, "nothing is shed while all is well");
    // Again where the machine is so busy that the first tick in time comes before the backlog is read.
    let refused = wait_for(3 * LIMIT, || {
        let refused = refused_of_a_backlog(&rig, address);
        (refused > 0).then_some(refused)
    });
    wait_until(LIMIT, || fetch(address, "/hello").0 == 200);
    wait_until(LIMIT, || shed(&rig) >= refused as f64);
}

/// Freezes the only worker, sends requests, and counts those that are refused when it goes on.
fn refused_of_a_backlog(rig: &Rig, address: SocketAddr) -> usize {
    let (gate, _opener) = rig.block_workers(1, "long");
    wait_until(LIMIT, || rig.metric("tokio_workers_stalled", &[]) == Some(1.0));
    let backlog: Vec<_> =
        (0..16).map(|_| std::thread::spawn(move || fetch(address, "/hello").0)).collect();
    wait_until(LIMIT, || rig.metric("tokio_stall_in_progress_seconds", &[]) >= Some(1.0));
    gate.open();
    let answers: Vec<_> = backlog.into_iter().map(|call| call.join().expect("no panic")).collect();
    assert!(answers.iter().all(|status| [200, 503].contains(status)), "{answers:?}");
    answers.iter().filter(|status| **status == 503).count()
}

#[test]
fn the_layers_stand_in_either_order() {
    let rig = Rig::new(1, |builder| builder.shed_after(300 * MS));
    rig.wait_until_told("/readyz", 200, "ok");
    let (stall, shed) = (rig.stall.layer(), rig.stall.shed_layer());
    let shed_outside =
        ServiceBuilder::new().layer(shed.clone()).layer(stall.clone()).service_fn(hello);
    let shed_inside = ServiceBuilder::new().layer(stall).layer(shed).service_fn(hello);
    rig.run(async move {
        let start = Instant::now();
        // One poll, so that the worker is frozen.
        while answer_at_once(shed_outside.clone()).0 == StatusCode::OK {
            assert!(start.elapsed() < LIMIT);
            std::thread::sleep(5 * MS);
        }
        let refused = (StatusCode::SERVICE_UNAVAILABLE, String::new());
        assert_eq!(answer_at_once(shed_outside.clone()), refused);
        assert_eq!(answer_at_once(shed_inside.clone()), refused);
    });
}

#[test]
fn some_requests_are_always_admitted_and_the_others_get_the_users_answer() {
    let rig = Rig::new(1, |builder| builder.shed_after(300 * MS));
    rig.wait_until_told("/readyz", 200, "ok");
    let busy = |request: RequestHead<'_>| {
        let mut answer = Response::new(Body::from(format!("busy: {}", request.uri())));
        *answer.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        answer
    };
    let layer = rig.stall.shed_layer().always_admit(|request| {
        assert_ne!(request.uri().path(), "/panics");
        request.uri().path() == "/login"
    });
    let service = layer.answer(busy).layer(service_fn(hello));
    let stall = rig.stall.clone();
    assert!(!stall.is_frozen());
    rig.run(async move {
        let start = Instant::now();
        // One poll, so that the worker is frozen.
        while !stall.is_frozen() {
            assert!(start.elapsed() < LIMIT);
            std::thread::sleep(5 * MS);
        }
        let answer = |path: &'static str| {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            answer_to(request, service.clone())
        };
        assert_eq!(answer("/login"), (StatusCode::OK, "hello".to_owned()));
        let refused = |path| (StatusCode::TOO_MANY_REQUESTS, format!("busy: {path}"));
        assert_eq!(answer("/orders"), refused("/orders"));
        assert_eq!(answer("/panics"), refused("/panics"), "a panic is no consent");
        let elsewhere = std::thread::spawn(move || stall.is_frozen());
        assert!(elsewhere.join().expect("no panic"), "on a thread without a runtime");
    });
    wait_until(LIMIT, || shed(&rig) >= 2.0);
    wait_until(LIMIT, || !rig.stall.is_frozen());
}

fn answer_at_once<S, B>(service: S) -> (StatusCode, String)
where
    S: tower::Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    answer_to(request("text/plain"), service)
}

fn answer_to<S, B>(request: Request<Body>, service: S) -> (StatusCode, String)
where
    S: tower::Service<Request<Body>, Response = Response<B>, Error = Infallible>,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let answer = async {
        let answer = service.oneshot(request).await.expect("no error");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        (head.status, String::from_utf8(body.into()).expect("text"))
    };
    futures_util::FutureExt::now_or_never(answer).expect("at once")
}
