//! The settings that the services of a layer share, and how a request gets its mark.

use std::borrow::Cow;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::labels::{LayerLabels, LearnMethod, NO_METHOD, is_grpc};
use super::request::{RequestHead, RequestMark, trace_id};
use crate::mark::Mark;
use crate::slot::LabelId;

type HandlerName = dyn Fn(RequestHead<'_>) -> Option<Cow<'static, str>> + Send + Sync;
type TraceId = dyn Fn(RequestHead<'_>) -> Option<u128> + Send + Sync;

#[derive(Clone)]
pub(super) struct Settings {
    pub(super) labels: LayerLabels,
    /// Declared gRPC methods.
    pub(super) methods: Vec<Box<str>>,
    pub(super) handler_name: Option<Arc<HandlerName>>,
    pub(super) trace_id: Option<Arc<TraceId>>,
}

impl Settings {
    /// The mark of a request, and what may learn a label from the response.
    ///
    /// Not inlined, so that `call` stays small, is inlined and builds its future in place.
    #[inline(never)]
    pub(super) fn mark(&self, head: RequestHead<'_>) -> (RequestMark, Option<Box<LearnMethod>>) {
        let named = self.handler_name.as_deref().and_then(|name| self.named(head, name));
        let (label_id, learn) = match named {
            Some(label_id) => (label_id, None),
            None if *head.method == Method::POST && is_grpc(head.headers) => {
                self.labels.of_grpc(head)
            }
            None => (self.labels.of_matched_path(head), None),
        };
        let trace = match self.trace_id.as_deref() {
            Some(trace_id) => traced(head, trace_id),
            None => trace_id(head.headers),
        };
        let mark = Mark { detector: self.labels.detector, label_id };
        (RequestMark { mark, trace: [(trace >> 64) as u64, trace as u64] }, learn)
    }

    #[inline(never)]
    fn named(&self, head: RequestHead<'_>, name: &HandlerName) -> Option<LabelId> {
        let name = contained(|| name(head))?;
        Some(self.labels.of_route(NO_METHOD, &name))
    }
}

#[inline(never)]
fn traced(head: RequestHead<'_>, trace_id: &TraceId) -> u128 {
    contained(|| trace_id(head)).unwrap_or(0)
}

/// Calls a user's function. A panic counts as `None` and does not reach the request.
fn contained<T>(call: impl FnOnce() -> Option<T>) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).ok().flatten()
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("threshold", &Duration::from_nanos(self.labels.threshold))
            .field("handler_name", &self.handler_name.is_some())
            .field("trace_id", &self.trace_id.is_some())
            .finish_non_exhaustive()
    }
}
