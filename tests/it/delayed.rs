//! Requests that are told which stalls they were in flight with.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, Response};
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::field::{Empty, Field, Visit};
use tracing::instrument::WithSubscriber;
use tracing::span::{Attributes, Id, Record};
use tracing::{Dispatch, Subscriber, info_span};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::support::events::{Events, keep_others};
use crate::support::*;

/// What was recorded in the spans of requests, by their path.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<BTreeMap<String, BTreeMap<&'static str, String>>>>);

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let path = fields.0.remove("path").unwrap_or_default();
        context.span(id).expect("it is new").extensions_mut().insert(path);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("it is open");
        let path = span.extensions().get::<String>().cloned().expect("set at its begin");
        let mut fields = Fields::default();
        record.record(&mut fields);
        self.0.lock().expect("no panic").entry(path).or_default().extend(fields.0);
    }
}

/// Where a request's span stands, and its events.
struct Log {
    spans: Spans,
    events: Events,
    dispatch: Dispatch,
}

impl Log {
    fn new() -> Self {
        keep_others();
        let (spans, events) = (Spans::default(), Events::default());
        let subscriber = tracing_subscriber::registry().with(spans.clone()).with(events.clone());
        Self { spans, events, dispatch: Dispatch::new(subscriber) }
    }

    /// What was recorded in the span of that request.
    fn recorded(&self, path: &str, field: &str) -> Option<String> {
        self.spans.0.lock().expect("no panic").get(path)?.get(field).cloned()
    }
}

/// A request in a span of its own, as tower-http's `TraceLayer` makes them.
async fn request<S>(mut service: S, path: &'static str)
where
    S: Service<Request<Body>, Error = Infallible>,
{
    let span = info_span!("request", path, stalled_by = Empty, stalled_ms = Empty);
    let request = Request::get(path).body(Body::empty()).expect("a request");
    let ready = service.ready().await.expect("no error");
    let answer = span.in_scope(|| ready.call(request));
    drop(answer.await);
}

#[test]
fn who_waited_is_told_for_whom_and_nobody_else_is() {
    // Of a request that finds the store locked, nothing is told but that.
    assert!((0..10).any(|_| is_told()), "the store was locked each time");
}

/// Whether each request could read the store.
fn is_told() -> bool {
    let rig = Rig::new(2, |builder| builder);
    let log = Log::new();
    let (arrived, answer) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (waiting, may_end, block) =
        (Arc::clone(&arrived), Arc::clone(&answer), rig.block("/blocks"));
    let handler = service_fn(move |request: Request<Body>| {
        let (waiting, may_end, block) = (Arc::clone(&waiting), Arc::clone(&may_end), block.clone());
        async move {
            match request.uri().path() {
                "/blocks" => block.run(),
                "/waits" | "/gives-up" => {
                    waiting.fetch_add(1, SeqCst);
                    drop(may_end.acquire().await);
                }
                _ => {}
            }
            Ok::<_, Infallible>(Response::new(Body::empty()))
        }
    });
    let named =
        rig.stall.layer().handler_name(|request| Some(request.uri().path().to_owned().into()));
    let service = rig.stall.delayed_layer().layer(named.layer(handler));
    let spawn = |path: &'static str| {
        rig.runtime.spawn(request(service.clone(), path).with_subscriber(log.dispatch.clone()))
    };
    let run = |path: &'static str| rig.runtime.block_on(spawn(path)).expect("no panic");

    run("/before");
    let (waits, gives_up) = (spawn("/waits"), spawn("/gives-up"));
    wait_until(LIMIT, || arrived.load(SeqCst) == 2);
    run("/blocks");
    let stall = rig.one_stall("/blocks");
    run("/after");
    answer.add_permits(1);
    gives_up.abort();
    assert!(rig.runtime.block_on(gives_up).expect_err("it gave up").is_cancelled());
    rig.runtime.block_on(waits).expect("no panic");

    let page = fetch(rig.stall.admin_addr().expect("an admin server"), "/stalls.json").1;
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    if page["totals"]["reports_suppressed"].as_u64().expect("a number") > 0 {
        return false;
    }
    for path in ["/waits", "/gives-up"] {
        assert_eq!(log.recorded(path, "stalled_by").as_deref(), Some("/blocks"), "{path}");
        let millis: u64 = log.recorded(path, "stalled_ms").expect("set").parse().expect("a number");
        assert!(u128::from(millis) <= stall.duration.as_millis() + 1, "{path}: {millis}");
        assert!(u128::from(millis) + 100 >= stall.duration.as_millis(), "{path}: {millis}");
    }
    for path in ["/before", "/blocks", "/after"] {
        assert_eq!(log.recorded(path, "stalled_by"), None, "{path}");
    }
    let told = log.events.named("request_delayed");
    assert_eq!(told.len(), 2, "{told:#?}");
    for event in told {
        assert_eq!((event.field("handler"), event.number("stall")), ("/blocks", stall.id));
        assert!(event.message().contains("of this request /blocks blocked worker"), "{event:#?}");
    }
    true
}
