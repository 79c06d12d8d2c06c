//! A span for each request, as services with OpenTelemetry have, and which one a stall belongs to.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{Span, SpanContext, SpanId, SpanKind, Status, TraceId, Tracer};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;
use opentelemetry_semantic_conventions::attribute::{
    HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE,
};

/// Requests that are over and still known: a stall may be told after its request was answered.
const KEPT: usize = 4096;

/// The spans of requests, by trace: a stall knows the trace of its request.
pub(crate) struct Requests {
    tracer: SdkTracer,
    spans: Mutex<Spans>,
}

#[derive(Default)]
struct Spans {
    /// When each began, in that order.
    by_trace: HashMap<TraceId, Vec<(SystemTime, SpanId)>>,
    over: VecDeque<(TraceId, SpanId)>,
}

impl Spans {
    fn forget(&mut self, (trace, span): (TraceId, SpanId)) {
        if let Entry::Occupied(mut of_trace) = self.by_trace.entry(trace) {
            of_trace.get_mut().retain(|(_, id)| *id != span);
            if of_trace.get().is_empty() {
                of_trace.remove();
            }
        }
    }
}

impl Requests {
    pub(crate) fn new(tracer: SdkTracer) -> Self {
        Self { tracer, spans: Mutex::default() }
    }

    /// The span of the request with that trace that was the last to begin before that time. If a
    /// trace has several requests here at a time it may be another's: a stall knows no more.
    pub(crate) fn span(&self, trace: TraceId, stalled: SystemTime) -> Option<SpanId> {
        let spans = self.spans();
        let began_before = |(began, _): &&(SystemTime, SpanId)| *began <= stalled;
        spans.by_trace.get(&trace)?.iter().rfind(began_before).map(|(_, span)| *span)
    }

    fn begin(self: &Arc<Self>, span: &SpanContext) -> UnderWay {
        let (trace, span) = (span.trace_id(), span.span_id());
        self.spans().by_trace.entry(trace).or_default().push((SystemTime::now(), span));
        UnderWay { requests: Arc::clone(self), span: (trace, span) }
    }

    fn spans(&self) -> MutexGuard<'_, Spans> {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request until it was answered or given up.
struct UnderWay {
    requests: Arc<Requests>,
    span: (TraceId, SpanId),
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut spans = self.requests.spans();
        spans.over.push_back(self.span);
        if spans.over.len() > KEPT
            && let Some(oldest) = spans.over.pop_front()
        {
            spans.forget(oldest);
        }
    }
}

/// The middleware. The stall layer inside of it finds the span among the request's extensions.
pub(crate) async fn trace(
    State(requests): State<Arc<Requests>>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = TraceContextPropagator::new()
        .extract_with_context(&Context::new(), &HeaderExtractor(request.headers()));
    let method = request.method().to_string();
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let mut span = requests
        .tracer
        .span_builder(format!("{method} {route}"))
        .with_kind(SpanKind::Server)
        .with_attributes([
            KeyValue::new(HTTP_ROUTE, route.to_owned()),
            KeyValue::new(HTTP_REQUEST_METHOD, method),
        ])
        .start_with_context(&requests.tracer, &caller);

    let context = span.span_context().clone();
    let under_way = requests.begin(&context);
    request.extensions_mut().insert(context);
    let response = next.run(request).await;
    drop(under_way);

    let status = response.status();
    span.set_attribute(KeyValue::new(HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16())));
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
    response
}
