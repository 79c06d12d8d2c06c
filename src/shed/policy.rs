//! Which requests are turned away, and with what answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use http::{Request, Response};

use super::answer::ShedAnswer;
use super::here::sheds;
use crate::layer::RequestHead;
use crate::runtime::registry::Registry;

type AlwaysAdmits = dyn Fn(RequestHead<'_>) -> bool + Send + Sync;

/// What a layer and its services share.
#[derive(Clone)]
pub(super) struct Policy<A> {
    pub(super) registry: Arc<Registry>,
    pub(super) always_admits: Option<Arc<AlwaysAdmits>>,
    pub(super) answer: A,
}

impl<A> Policy<A> {
    /// Whether a request is to be turned away here and now.
    #[inline]
    pub(super) fn sheds<B>(&self, request: &Request<B>) -> bool {
        sheds(&self.registry) && !self.admits(RequestHead::new(request))
    }

    #[cold]
    fn admits(&self, request: RequestHead<'_>) -> bool {
        let admits = |admits: &AlwaysAdmits| {
            catch_unwind(AssertUnwindSafe(|| admits(request))).unwrap_or(false)
        };
        self.always_admits.as_deref().is_some_and(admits)
    }

    pub(super) fn turn_away<B, Body>(&self, request: &Request<B>) -> Response<Body>
    where
        A: ShedAnswer<Body>,
    {
        self.registry.shed.fetch_add(1, Relaxed);
        self.answer.answer(RequestHead::new(request))
    }
}
