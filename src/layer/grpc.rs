//! gRPC methods: they arrive as raw paths, so one becomes a label only when its service has
//! shown that it exists.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode, Uri};

use super::route_cache::NO_METHOD;
use super::routes::Routes;

/// A gRPC request whose method has no label yet.
#[derive(Debug)]
pub(super) struct Learn {
    routes: Routes,
    uri: Uri,
}

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl Learn {
    pub(super) fn new(routes: Routes, uri: Uri) -> Self {
        Self { routes, uri }
    }

    /// Looks at the head of the answer. Gives `self` back while the status is to come.
    #[cold]
    pub(super) fn from_head<B>(self: Box<Self>, response: &Response<B>) -> Option<Box<Self>> {
        if response.status() == StatusCode::OK { self.from(response.headers()) } else { None }
    }

    /// Looks for the status among headers (an answer without a body) or trailers. Gives `self`
    /// back while there is none.
    pub(super) fn from(self: Box<Self>, headers: &HeaderMap) -> Option<Box<Self>> {
        let Some(status) = headers.get("grpc-status") else { return Some(self) };
        if status.as_bytes() == b"0" {
            self.routes.label_id(NO_METHOD, self.uri.path());
        }
        None
    }
}
