//! A span for each stall, in the trace of the request that blocked.

use std::sync::Arc;

use opentelemetry::trace::{
    Span, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::SdkTracer;
use opentelemetry_semantic_conventions::attribute::{
    CODE_FILE_PATH, CODE_FUNCTION_NAME, CODE_LINE_NUMBER, CODE_STACKTRACE,
};
use tower_stall::{OnStall, Stall};

use crate::requests::Requests;

/// Makes the spans.
pub(crate) struct Stalls {
    tracer: SdkTracer,
    requests: Arc<Requests>,
}

impl Stalls {
    pub(crate) fn new(tracer: SdkTracer, requests: Arc<Requests>) -> Self {
        Self { tracer, requests }
    }

    /// The span of the request, or nothing where no request blocked.
    fn parent(&self, stall: &Stall) -> Context {
        let Some(trace) = stall.trace_id.map(|id| TraceId::from_bytes(id.to_be_bytes())) else {
            return Context::new();
        };
        let span = self.requests.span(trace, stall.started_at).unwrap_or_else(|| any_span(trace));
        // A stall is worth a span in a trace that was not sampled, too.
        let sampled = TraceFlags::SAMPLED;
        let parent = SpanContext::new(trace, span, sampled, true, TraceState::default());
        Context::new().with_remote_span_context(parent)
    }
}

impl OnStall for Stalls {
    /// At the end of a stall, or of the detector if that comes first: a span is sent as a whole, so
    /// there is none when a stall begins.
    fn on_stall(&mut self, stall: &Stall) {
        if stall.in_progress {
            return;
        }
        let mut span = self
            .tracer
            .span_builder(format!("stall {} ({})", stall.handler, stall.cause))
            .with_start_time(stall.started_at)
            .with_attributes(attributes(stall))
            .start_with_context(&self.tracer, &self.parent(stall));
        span.set_status(Status::error(said(stall)));
        span.end_with_timestamp(stall.started_at + stall.duration);
    }
}

/// A span that nobody has. Backends show a span whose parent they lack at the top of its trace.
fn any_span(trace: TraceId) -> SpanId {
    let [.., a, b, c, d, e, f, g, h] = trace.to_bytes();
    SpanId::from_bytes([a, b, c, d, e, f, g, h])
}

/// The names are those of the log and of the metrics' labels, or OpenTelemetry's where it has one.
fn attributes(stall: &Stall) -> Vec<KeyValue> {
    let mut attributes = vec![
        KeyValue::new("stall", number(stall.id)),
        KeyValue::new("runtime", stall.runtime.clone()),
        KeyValue::new("handler", stall.handler.clone()),
        KeyValue::new("cause", stall.cause.as_str()),
        KeyValue::new("fix", stall.fix.clone()),
        KeyValue::new("workers", number(stall.workers)),
        KeyValue::new("workers_stalled", number(stall.workers_stalled)),
        KeyValue::new("requests_in_flight", number(stall.requests_in_flight)),
    ];
    let mut add = |attribute: Option<KeyValue>| attributes.extend(attribute);
    add(stall.worker.map(|worker| KeyValue::new("worker", number(worker))));
    add(stall.detail.clone().map(|detail| KeyValue::new("detail", detail)));
    if let Some(site) = stall.site.clone() {
        add(Some(KeyValue::new(CODE_FUNCTION_NAME, site.function)));
        add(site.file.map(|file| KeyValue::new(CODE_FILE_PATH, file)));
        add(site.line.map(|line| KeyValue::new(CODE_LINE_NUMBER, i64::from(line))));
    }
    if let Some(stack) = &stall.stack {
        add(Some(KeyValue::new(CODE_STACKTRACE, stack.to_string())));
        add(Some(KeyValue::new("thread.id", i64::from(stack.thread))));
    }
    attributes
}

/// One line for the status: what backends show of an error first.
fn said(stall: &Stall) -> String {
    let detail = stall.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let site = stall.site.as_ref().map(|site| format!(" at {site}")).unwrap_or_default();
    format!("blocked runtime \"{}\": {}{detail}{site}", stall.runtime, stall.cause)
}

fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
