//! What a request that is turned away is answered.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Response, StatusCode};

use crate::layer::{RequestHead, is_grpc};

/// Makes the answers to requests that a [`ShedLayer`](super::ShedLayer) turns away: [`Unavailable`], or a
/// function from a [`RequestHead`] to a response.
pub trait ShedAnswer<Body> {
    /// The answer to this request. It is made on a worker of the runtime that is frozen: be quick.
    fn answer(&self, request: RequestHead<'_>) -> Response<Body>;
}

impl<F, Body> ShedAnswer<Body> for F
where
    F: Fn(RequestHead<'_>) -> Response<Body>,
{
    fn answer(&self, request: RequestHead<'_>) -> Response<Body> {
        self(request)
    }
}

/// 503 with `Retry-After`, or for gRPC `UNAVAILABLE`, both without a body.
#[derive(Clone, Debug)]
pub struct Unavailable {
    retry_after: HeaderValue,
}

impl Unavailable {
    /// `retry_after` is rounded up to whole seconds.
    pub(super) fn new(retry_after: Duration) -> Self {
        let seconds = retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0);
        Self { retry_after: HeaderValue::from(seconds) }
    }
}

impl<Body: Default> ShedAnswer<Body> for Unavailable {
    fn answer(&self, request: RequestHead<'_>) -> Response<Body> {
        let mut response = Response::new(Body::default());
        let headers = response.headers_mut();
        if is_grpc(request.headers()) {
            // A response without a body; 14 is UNAVAILABLE, which clients may retry.
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("grpc-status", HeaderValue::from_static("14"));
            headers.insert("grpc-message", HeaderValue::from_static("the runtime is frozen"));
        } else {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        response.headers_mut().insert(RETRY_AFTER, self.retry_after.clone());
        response
    }
}
