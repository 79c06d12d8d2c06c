//! The service.

use std::task::{Context, Poll};

use http::{Request, Response};
use tower_service::Service;

use super::body::ResponseBody;
use super::future::ResponseFuture;
use super::request::RequestHead;
use super::settings::SharedSettings;
use crate::inner_service::inner_service;

/// A service whose requests are marked. Made by [`StallLayer`](super::StallLayer).
#[derive(Clone, Debug)]
pub struct StallService<S> {
    pub(super) inner: S,
    pub(super) settings: SharedSettings,
}

inner_service!(StallService<S>);

impl<S, RequestBody, Body> Service<Request<RequestBody>> for StallService<S>
where
    S: Service<Request<RequestBody>, Response = Response<Body>>,
{
    type Response = Response<ResponseBody<Body>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let _polling = self.settings.labels.poll_ready.enter();
        self.inner.poll_ready(cx)
    }

    // Not inlined: in most layers' `call` it would keep theirs from building futures in place.
    #[inline(never)]
    fn call(&mut self, request: Request<RequestBody>) -> Self::Future {
        let in_flight = self.settings.mark(RequestHead::new(&request));
        let _polling = in_flight.begin();
        ResponseFuture { inner: Some(self.inner.call(request)), request: in_flight }
    }
}
