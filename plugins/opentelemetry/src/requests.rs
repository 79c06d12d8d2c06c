//! Which span a request has: a stall knows its trace alone.

use std::sync::{LazyLock, Mutex, TryLockError};
use std::time::SystemTime;

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId};
use tower_stall::layer::RequestHead;

/// Requests of different traces seldom wait for one another.
const SHARDS: usize = 64;
/// The last requests that a shard knows.
const KEPT: usize = 256;

static REQUESTS: LazyLock<Requests> = LazyLock::new(Requests::new);

/// The trace of a request, for [`StallLayer::trace_id`](tower_stall::layer::StallLayer::trace_id); remembers the
/// request's span, so that [`StallSpans`](crate::StallSpans) puts the stall below it.
///
/// The span is, in this order, the `SpanContext` among the request's extensions, the span of the current
/// [`Context`], or the caller's as the header `traceparent` has it. So put the stall layer inside of what makes the
/// spans. The `tracing` spans of tracing-opentelemetry are current where they are entered.
///
/// It never waits and allocates nothing: a span that cannot be remembered at once is not. It reads the clock once.
#[must_use]
pub fn trace_id(request: RequestHead<'_>) -> Option<u128> {
    let span = of_extensions(request).or_else(of_context).or_else(|| of_caller(request))?;
    REQUESTS.remember(Request { began: SystemTime::now(), ..span });
    Some(span.trace)
}

/// Makes room for requests, so that none of them does.
pub(crate) fn prepare() {
    LazyLock::force(&REQUESTS);
}

/// The span of the request with that trace that was the last to begin before that time.
pub(crate) fn parent(trace: u128, stalled: SystemTime) -> Option<Parent> {
    REQUESTS.parent(trace, stalled)
}

/// The span of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Request {
    trace: u128,
    span: u64,
    is_sampled: bool,
    is_remote: bool,
    began: SystemTime,
}

/// What a stall's span is below.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parent {
    pub(crate) span: SpanContext,
    /// Whether another request of the trace may be the one.
    pub(crate) guessed: bool,
}

impl Request {
    fn new(span: &SpanContext) -> Option<Self> {
        span.is_valid().then(|| Self {
            trace: u128::from_be_bytes(span.trace_id().to_bytes()),
            span: u64::from_be_bytes(span.span_id().to_bytes()),
            is_sampled: span.is_sampled(),
            is_remote: span.is_remote(),
            began: SystemTime::UNIX_EPOCH,
        })
    }

    fn context(self) -> SpanContext {
        let flags = if self.is_sampled { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let trace = TraceId::from_bytes(self.trace.to_be_bytes());
        let span = SpanId::from_bytes(self.span.to_be_bytes());
        SpanContext::new(trace, span, flags, self.is_remote, Default::default())
    }
}

fn of_extensions(request: RequestHead<'_>) -> Option<Request> {
    Request::new(request.extensions().get::<SpanContext>()?)
}

fn of_context() -> Option<Request> {
    Context::map_current(|context| {
        context.has_active_span().then(|| Request::new(context.span().span_context())).flatten()
    })
}

fn of_caller(request: RequestHead<'_>) -> Option<Request> {
    let mut headers = request.headers().get_all("traceparent").iter();
    let header = headers.next().filter(|_| headers.next().is_none())?;
    caller(header.to_str().ok()?)
}

/// Reads a header `traceparent` by the W3C's rules, of later versions what version 00 has.
fn caller(header: &str) -> Option<Request> {
    let mut parts = header.split('-');
    let mut next = |digits| parts.next().filter(|part| part.len() == digits && is_hex(part));
    let version = next(2).filter(|version| *version != "ff")?;
    let trace = u128::from_str_radix(next(32)?, 16).ok()?;
    let span = u64::from_str_radix(next(16)?, 16).ok()?;
    let flags = u8::from_str_radix(next(2)?, 16).ok()?;
    let is_whole = version != "00" || parts.next().is_none();
    (is_whole && trace != 0 && span != 0).then_some(Request {
        trace,
        span,
        is_sampled: flags & 1 == 1,
        is_remote: true,
        began: SystemTime::UNIX_EPOCH,
    })
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The last requests of the process.
struct Requests([Mutex<Shard>; SHARDS]);

struct Shard {
    /// As many as are kept; nothing is allocated for a request.
    requests: Box<[Option<Request>]>,
    next: usize,
}

impl Requests {
    fn new() -> Self {
        let shard = |_| Mutex::new(Shard { requests: vec![None; KEPT].into(), next: 0 });
        Self(std::array::from_fn(shard))
    }

    /// Trace ids are random in their last seven bytes at least.
    fn shard(&self, trace: u128) -> &Mutex<Shard> {
        &self.0[(trace % SHARDS as u128) as usize]
    }

    fn remember(&self, request: Request) {
        let mut shard = match self.shard(request.trace).try_lock() {
            Ok(shard) => shard,
            Err(TryLockError::Poisoned(shard)) => shard.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let Shard { requests, next } = &mut *shard;
        requests[*next] = Some(request);
        *next = (*next + 1) % KEPT;
    }

    fn parent(&self, trace: u128, stalled: SystemTime) -> Option<Parent> {
        let shard = self.shard(trace).lock().unwrap_or_else(|shard| shard.into_inner());
        let of_trace = || shard.requests.iter().flatten().filter(|request| request.trace == trace);
        let before = of_trace().filter(|request| request.began <= stalled);
        let found = before.max_by_key(|request| request.began)?;
        let guessed = of_trace().any(|other| other.span != found.span && other.began <= stalled);
        Some(Parent { span: found.context(), guessed })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn request(trace: u128, span: u64, second: u64) -> Request {
        Request { trace, span, is_sampled: true, is_remote: false, began: at(second) }
    }

    #[test]
    fn a_stall_is_below_the_last_request_of_its_trace_that_began_before() {
        let requests = Requests::new();
        assert_eq!(requests.parent(TRACE, at(9)), None);
        requests.remember(request(TRACE, 1, 3));
        requests.remember(request(TRACE + SHARDS as u128, 7, 4));
        let parent = |second| {
            let parent = requests.parent(TRACE, at(second))?;
            Some((u64::from_be_bytes(parent.span.span_id().to_bytes()), parent.guessed))
        };
        assert_eq!(parent(2), None);
        assert_eq!(parent(3), Some((1, false)));
        // The same request, through two layers.
        requests.remember(request(TRACE, 1, 3));
        assert_eq!(parent(9), Some((1, false)));
        requests.remember(request(TRACE, 2, 5));
        assert_eq!(parent(4), Some((1, false)));
        assert_eq!(parent(9), Some((2, true)));
    }

    #[test]
    fn the_oldest_requests_give_way() {
        let requests = Requests::new();
        requests.remember(request(TRACE, 1, 3));
        for number in 1..KEPT as u128 {
            requests.remember(request(TRACE + number * SHARDS as u128, 2, 4));
        }
        assert!(requests.parent(TRACE, at(9)).is_some());
        requests.remember(request(TRACE + (KEPT * SHARDS) as u128, 2, 4));
        assert_eq!(requests.parent(TRACE, at(9)), None);
    }

    #[test]
    fn a_request_does_not_wait() {
        let requests = Requests::new();
        let locked = requests.shard(TRACE).lock();
        requests.remember(request(TRACE, 1, 3));
        drop(locked);
        assert_eq!(requests.parent(TRACE, at(9)), None);
    }

    #[test]
    fn callers_are_read_from_well_formed_headers_only() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (header, is_sampled) in [
            (format!("00-{trace}-{span}-01"), true),
            (format!("00-{trace}-{span}-00"), false),
            (format!("cc-{trace}-{span}-03-more"), true),
        ] {
            let found = caller(&header).expect(&header);
            assert_eq!((found.trace, found.is_sampled), (TRACE, is_sampled), "{header}");
            assert_eq!(found.context().span_id().to_string(), span);
        }
        for header in [
            String::new(),
            format!("00-{trace}-{span}"),
            format!("00-{trace}-{span}-01-more"),
            format!("ff-{trace}-{span}-01"),
            format!("00-{}-{span}-01", trace.to_uppercase()),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{trace}-{}-01", "0".repeat(16)),
            format!("00-+{}-{span}-01", &trace[1..]),
        ] {
            assert_eq!(caller(&header), None, "{header}");
        }
    }
}
