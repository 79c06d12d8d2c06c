//! Labels: one test for each row of the table in the documentation of `tower_stall::layer`, and
//! what a stranger can send.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{any, get, get_service};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_stall::{Builder, Stall, StallLayer};

use crate::support::events::Events;
use crate::support::is_own;
use crate::support::{LIMIT, Rig, block_until, wait_for, wait_until};

/// Finds out the label of a request: its handler blocks until a stall with the request's own
/// trace id shows.
pub(crate) struct Asker {
    pub(crate) rig: Rig,
    last: Arc<AtomicU64>,
}

impl Asker {
    pub(crate) fn new(set: impl FnOnce(Builder) -> Builder) -> Self {
        let rig = Rig::new(2, |builder| set(builder.threshold(Duration::from_millis(20))));
        Self { rig, last: Arc::new(AtomicU64::new(0)) }
    }

    pub(crate) fn layer(&self) -> StallLayer {
        self.rig.stall.layer()
    }

    /// Blocks the calling thread until the request of now is seen.
    pub(crate) fn blocking(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        let (stall, last) = (Arc::clone(&self.rig.stall), Arc::clone(&self.last));
        move || {
            let trace = u128::from(last.load(Ordering::Acquire));
            let is_it = |stall: &Stall| stall.trace_id == Some(trace) && is_own(stall);
            block_until(|| stall.stalls().iter().any(is_it));
        }
    }

    /// Sends a request and returns the stall it makes.
    pub(crate) fn stall<S, B>(&self, app: S, mut request: Request) -> Stall
    where
        S: Service<Request, Response = http::Response<B>, Error: std::fmt::Debug>,
        S: Send + 'static,
        S::Future: Send,
        B: http_body::Body<Data: Send, Error: std::fmt::Debug> + Send + 'static,
    {
        let trace = self.last.fetch_add(1, Ordering::AcqRel) + 1;
        let traceparent = format!("00-{trace:032x}-00f067aa0ba902b7-01");
        request.headers_mut().insert("traceparent", traceparent.parse().expect("a header"));
        self.rig.run(async move {
            let response = app.oneshot(request).await.expect("an answer");
            let body = http_body_util::BodyExt::collect(response.into_body()).await;
            drop(body.expect("a body"));
        });
        wait_for(LIMIT, || {
            let mut stalls = self.rig.stall.stalls().into_iter();
            stalls.find(|stall| stall.trace_id == Some(trace.into()) && is_own(stall))
        })
    }

    fn label(&self, app: Router, method: &str, path: &str) -> Cow<'static, str> {
        let request = http::Request::builder().method(method).uri(path);
        self.stall(app, request.body(Body::empty()).expect("a request")).handler
    }
}

fn asker() -> Asker {
    Asker::new(|builder| builder)
}

macro_rules! handler {
    ($asker:ident) => {{
        let block = $asker.blocking();
        move || {
            let block = block.clone();
            async move {
                block();
                "done"
            }
        }
    }};
}

#[test]
fn router_layer_after_the_routes() {
    let asker = asker();
    let app = Router::new().route("/users/{id}", get(handler!(asker))).layer(asker.layer());
    assert_eq!(asker.label(app, "GET", "/users/7"), "GET /users/{id}");
}

#[test]
fn router_route_layer() {
    let asker = asker();
    let app = Router::new().route("/users/{id}", get(handler!(asker))).route_layer(asker.layer());
    assert_eq!(asker.label(app, "GET", "/users/7"), "GET /users/{id}");
}

#[test]
fn method_router_layer() {
    let asker = asker();
    let app = Router::new().route("/users/{id}", get(handler!(asker)).layer(asker.layer()));
    assert_eq!(asker.label(app, "GET", "/users/7"), "GET /users/{id}");
}

#[test]
fn inside_and_outside_of_nest() {
    let asker = asker();
    let users = || Router::new().route("/users/{id}", get(handler!(asker)));
    let inside = Router::new().nest("/api", users().layer(asker.layer()));
    assert_eq!(asker.label(inside, "GET", "/api/users/7"), "GET /api/users/{id}");
    let outside = Router::new().nest("/api", users()).layer(asker.layer());
    assert_eq!(asker.label(outside, "GET", "/api/users/7"), "GET /api/users/{id}");
}

#[test]
fn inside_and_outside_of_merge() {
    let asker = asker();
    let users = || Router::new().route("/users/{id}", get(handler!(asker)));
    let inside = Router::new().merge(users().layer(asker.layer()));
    assert_eq!(asker.label(inside, "GET", "/users/7"), "GET /users/{id}");
    let outside = Router::new().merge(users()).layer(asker.layer());
    assert_eq!(asker.label(outside, "GET", "/users/7"), "GET /users/{id}");
}

#[test]
fn fallbacks() {
    let asker = asker();
    let app = Router::new().fallback(handler!(asker)).layer(asker.layer());
    assert_eq!(asker.label(app, "GET", "/no/such/page"), "unmatched");
    // A method that the route does not have is still a matched route.
    let route = get(async || "").fallback(handler!(asker));
    let app = Router::new().route("/page", route).layer(asker.layer());
    assert_eq!(asker.label(app, "PUT", "/page"), "PUT /page");
}

#[test]
fn inside_and_outside_of_nest_service() {
    let asker = asker();
    let files = || Router::new().route("/{file}", get(handler!(asker)));
    let outside = Router::new().nest_service("/static", files()).layer(asker.layer());
    assert_eq!(asker.label(outside, "GET", "/static/a.css"), "unmatched");
    let inside = Router::new().nest_service("/static", files().layer(asker.layer()));
    assert_eq!(asker.label(inside, "GET", "/static/a.css"), "GET /static/{file}");
    let plain = get_service(tower::service_fn({
        let block = asker.blocking();
        move |_: Request| {
            block();
            std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(Body::empty())))
        }
    }));
    let itself = Router::new().nest_service("/static", plain).layer(asker.layer());
    assert_eq!(asker.label(itself, "GET", "/static"), "GET /static");
}

#[test]
fn a_service_builder_around_the_router() {
    let asker = asker();
    let app = Router::new().route("/users/{id}", get(handler!(asker)));
    let app = ServiceBuilder::new().layer(asker.layer()).service(app);
    let request = http::Request::get("/users/7").body(Body::empty()).expect("a request");
    assert_eq!(asker.stall(app, request).handler, "unmatched");
}

#[test]
fn a_service_builder_given_to_router_layer() {
    let asker = asker();
    let app = Router::new()
        .route("/users/{id}", get(handler!(asker)))
        .layer(ServiceBuilder::new().layer(asker.layer()));
    assert_eq!(asker.label(app, "GET", "/users/7"), "GET /users/{id}");
}

#[test]
fn routes_added_after_the_layer_are_not_covered() {
    let asker = asker();
    let late = get(async || {
        std::thread::sleep(Duration::from_millis(200));
        "done"
    });
    let app = Router::new()
        .route("/early", get(handler!(asker)))
        .layer(asker.layer())
        .route("/late", late);
    let request = http::Request::get("/late")
        .header("traceparent", "00-0000000000000000000000000000ffff-00f067aa0ba902b7-01");
    let request = request.body(Body::empty()).expect("a request");
    let late = app.clone().oneshot(request);
    assert_eq!(asker.rig.run(late).expect("an answer").status(), 200);
    assert_eq!(asker.label(app, "GET", "/early"), "GET /early");
    let stalls = asker.rig.stall.stalls();
    assert!(stalls.iter().all(|stall| stall.handler == "GET /early"), "{stalls:#?}");
}

#[test]
fn methods_are_standard_or_other() {
    let asker = asker();
    let app = Router::new().route("/hello", any(handler!(asker))).layer(asker.layer());
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"] {
        let label = asker.label(app.clone(), method, "/hello");
        assert_eq!(label, format!("{method} /hello"));
    }
    for made_up in ["FOO1", "get", "PROPFIND", "_OTHER"] {
        assert_eq!(asker.label(app.clone(), made_up, "/hello"), "_OTHER /hello", "{made_up}");
    }
}

#[test]
fn a_route_of_get_answers_head_under_its_own_label() {
    let asker = asker();
    let app = Router::new().route("/hello", get(handler!(asker))).layer(asker.layer());
    assert_eq!(asker.label(app, "HEAD", "/hello"), "HEAD /hello");
}

#[test]
fn a_function_names_handlers_where_it_wants_to() {
    let asker = asker();
    let layer = asker.layer().handler_name(|request| match request.uri().path() {
        "/named" => Some(Cow::Borrowed("the named one")),
        "/by-header" => {
            let known = request.headers().contains_key("x-known");
            known.then(|| format!("{} by header", request.method()).into())
        }
        _ => None,
    });
    let app = Router::new()
        .route("/named", get(handler!(asker)))
        .route("/by-header", get(handler!(asker)))
        .route("/plain", get(handler!(asker)))
        .layer(layer);
    assert_eq!(asker.label(app.clone(), "GET", "/named"), "the named one");
    assert_eq!(asker.label(app.clone(), "GET", "/plain"), "GET /plain");
    assert_eq!(asker.label(app.clone(), "GET", "/by-header"), "GET /by-header");
    let request = http::Request::get("/by-header").header("x-known", "1");
    let request = request.body(Body::empty()).expect("a request");
    assert_eq!(asker.stall(app, request).handler, "GET by header");
}

#[test]
fn labels_past_the_cap_are_other_and_the_first_ones_stay() {
    let asker = Asker::new(|builder| builder.max_handlers(3));
    let mut app = Router::new();
    for number in 0..5 {
        app = app.route(&format!("/{number}/{{id}}"), get(handler!(asker)));
    }
    let app = app.fallback(handler!(asker)).layer(asker.layer());
    let label = |number| asker.label(app.clone(), "GET", &format!("/{number}/x"));
    for _ in 0..2 {
        assert_eq!([0, 1, 2].map(label), ["GET /0/{id}", "GET /1/{id}", "GET /2/{id}"]);
        assert_eq!([3, 4].map(label), ["other", "other"]);
    }
    assert_eq!(asker.label(app, "GET", "/none"), "unmatched", "built in, past the cap too");
}

/// Sends requests one after another in one task.
fn send(rig: &Rig, app: Router, path: &'static str, count: usize) {
    rig.run(async move {
        for _ in 0..count {
            let request = http::Request::get(path).body(Body::empty()).expect("a request");
            drop(app.clone().oneshot(request).await);
        }
    });
}

fn rig_with_log() -> (Rig, Events) {
    let events = Events::default();
    let rig = events.with(|| Rig::new(2, |builder| builder));
    (rig, events)
}

fn scans(rig: &Rig) -> f64 {
    rig.metric("tower_stall_watchdog_scans_total", &[]).expect("it is there from the start")
}

#[test]
fn a_layer_that_sees_no_route_is_warned_of_once() {
    let (rig, events) = rig_with_log();
    let app = Router::new().route("/hello", get(async || ""));
    // In place of `Router::layer`.
    let app = Router::new().fallback_service(rig.stall.layer().layer(app));
    send(&rig, app.clone(), "/hello", 999);
    let before = scans(&rig);
    wait_until(LIMIT, || scans(&rig) > before + 2.0);
    assert!(events.named("all_unmatched").is_empty(), "too few to say");
    send(&rig, app.clone(), "/hello", 1);
    wait_until(LIMIT, || !events.named("all_unmatched").is_empty());
    send(&rig, app, "/hello", 2000);
    let before = scans(&rig);
    wait_until(LIMIT, || scans(&rig) > before + 2.0);
    let warnings = events.named("all_unmatched");
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].message().contains("Router::layer"), "{warnings:?}");
}

#[test]
fn a_service_whose_strangers_ask_for_nonsense_is_not_warned() {
    let (rig, events) = rig_with_log();
    let app = Router::new().route("/hello", get(async || "")).layer(rig.stall.layer());
    send(&rig, app.clone(), "/hello", 1);
    send(&rig, app, "/wp-admin.php", 1500);
    let before = scans(&rig);
    wait_until(LIMIT, || scans(&rig) > before + 2.0);
    assert!(events.named("all_unmatched").is_empty());
}
