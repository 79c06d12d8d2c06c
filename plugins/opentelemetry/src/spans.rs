//! A span for each stall, in the trace of the request that blocked.

use std::collections::VecDeque;
use std::fmt;

use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::trace::{
    Span, SpanContext, SpanId, Status, TraceContextExt, TraceFlags, TraceId, Tracer, TracerProvider,
};
use tower_stall::{OnStall, Stall};

use crate::attributes::{attributes, thread_name};
use crate::requests::{self, Parent};
use crate::scope;

/// Stalls in progress of which the parent is remembered.
const MOST_OPEN: usize = 1024;

/// Makes a span of each stall when it is over, for
/// [`Builder::on_stall`](tower_stall::Builder::on_stall).
///
/// - It begins when the worker was first seen blocked, and ends when it was free. For what still blocks when the detector
///   ends, it ends then.
/// - Its name is `stall GET /users (sleep)`, with the handler and the cause. Its status is an error.
/// - It is below the span of the request, if the stall layer has [`trace_id`](crate::trace_id). Else it is in the
///   trace of the request, if that is known, and a trace of its own otherwise.
/// - Attributes are OpenTelemetry's where it has some: `code.function.name`, `code.file.path`, `code.line.number`,
///   `code.stacktrace`, `error.type` (the cause), `http.request.method`, `http.route`, `rpc.method`, `rpc.system.name`,
///   `thread.id` (the kernel's) and `thread.name`. The others are those of the log with the
///   prefix `tower_stall.`: `id`, `runtime`, `worker`, `handler`, `cause`, `detail`, `fix`, `workers`,
///   `workers_stalled`, `requests_in_flight`, `delayed_requests`, `site_missing`, `stack_missing`, `last_seen`.
///
/// Spans are made on a thread of the detector. The service does not notice what the SDK does there.
pub struct StallSpans<T> {
    tracer: T,
    only_sampled: bool,
    /// Looked up when a stall begins: its request is among the last ones then.
    open: VecDeque<(u64, Seen)>,
}

/// What is known of a stall only while it lasts.
#[derive(Default)]
struct Seen {
    parent: Option<Parent>,
    thread_name: Option<String>,
}

impl<T: Tracer> StallSpans<T> {
    /// Spans of a provider: the service's, or `opentelemetry::global::tracer_provider()`, if that is set by then.
    #[must_use]
    pub fn new<P: TracerProvider<Tracer = T>>(provider: &P) -> Self {
        requests::prepare();
        let tracer = provider.tracer_with_scope(scope());
        Self { tracer, only_sampled: false, open: VecDeque::new() }
    }

    /// Whether a stall in a trace that is not sampled has no span.
    ///
    /// With `false` it has one, whose parent is missing: a stall is rare, and is worth a span.
    ///
    /// Defaults to `false`.
    #[must_use]
    pub fn only_sampled(mut self, only_sampled: bool) -> Self {
        self.only_sampled = only_sampled;
        self
    }

    fn remember(&mut self, stall: &Stall) {
        let (id, seen) = (stall.id, Seen::of(stall));
        self.open.retain(|(open, _)| *open != id);
        self.open.truncate(MOST_OPEN - 1);
        self.open.push_front((id, seen));
    }

    /// What was seen of a stall when it began, or can be seen of it now.
    fn seen(&mut self, stall: &Stall) -> Seen {
        let at = self.open.iter().position(|(open, _)| *open == stall.id);
        let before = at.and_then(|at| self.open.remove(at)).map(|(_, seen)| seen);
        let Some(before) = before else { return Seen::of(stall) };
        // Its stack may have come later.
        Seen { thread_name: before.thread_name.or_else(|| thread_name(stall)), ..before }
    }

    fn send(&self, stall: &Stall, seen: Seen) {
        let guessed = seen.parent.as_ref().is_some_and(|parent| parent.guessed);
        let parent = seen.parent.map(|parent| parent.span).or_else(|| unknown_parent(stall));
        let context = match parent {
            Some(span) if self.only_sampled => Context::new().with_remote_span_context(span),
            Some(span) => Context::new().with_remote_span_context(sampled(&span)),
            None => Context::new(),
        };
        let mut attributes = attributes(stall, seen.thread_name);
        if guessed {
            attributes.push(KeyValue::new("tower_stall.parent_guessed", true));
        }
        let mut span = self
            .tracer
            .span_builder(format!("stall {} ({})", stall.handler, stall.cause))
            .with_start_time(stall.started_at)
            .with_attributes(attributes)
            .start_with_context(&self.tracer, &context);
        span.set_status(Status::error(said(stall)));
        span.end_with_timestamp(stall.started_at + stall.duration);
    }
}

impl<T: Tracer + Send + 'static> OnStall for StallSpans<T> {
    /// A span is sent as a whole, so there is none when a stall begins.
    fn on_stall(&mut self, stall: &Stall) {
        if stall.in_progress {
            self.remember(stall);
        } else {
            let seen = self.seen(stall);
            self.send(stall, seen);
        }
    }
}

impl<T> fmt::Debug for StallSpans<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("StallSpans");
        shown.field("only_sampled", &self.only_sampled).finish_non_exhaustive()
    }
}

impl Seen {
    fn of(stall: &Stall) -> Self {
        let parent = stall.trace_id.and_then(|trace| requests::parent(trace, stall.started_at));
        Self { parent, thread_name: thread_name(stall) }
    }
}

fn sampled(span: &SpanContext) -> SpanContext {
    let (trace, flags) = (span.trace_id(), span.trace_flags() | TraceFlags::SAMPLED);
    SpanContext::new(trace, span.span_id(), flags, span.is_remote(), span.trace_state().clone())
}

/// A span that nobody has, in the trace of the request. Backends show a span whose parent they lack at the top
/// of its trace.
fn unknown_parent(stall: &Stall) -> Option<SpanContext> {
    let trace = stall.trace_id?.to_be_bytes();
    let [.., a, b, c, d, e, f, g, h] = trace;
    let span = SpanId::from_bytes([a, b, c, d, e, f, g, h]);
    let trace = TraceId::from_bytes(trace);
    Some(SpanContext::new(trace, span, TraceFlags::SAMPLED, true, Default::default()))
}

/// One line for the status: what backends show of an error first.
fn said(stall: &Stall) -> String {
    let detail = stall.detail.as_deref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let site = stall.site.as_ref().map(|site| format!(" at {site}")).unwrap_or_default();
    format!("blocked runtime \"{}\": {}{detail}{site}", stall.runtime, stall.cause)
}
