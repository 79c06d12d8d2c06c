//! The labels of requests.
//!
//! Most are found by the address of the matched path ([`KnownPaths`]), the others by the path's text
//! in the detector's table. A gRPC method arrives as a raw path. It becomes a label only after the
//! service has answered it successfully ([`LearnMethod`]).

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode, Uri};

use super::request::RequestHead;
use crate::clock::Nanos;
use crate::labels::{LabelTable, OTHER, POLL_READY, PollKind, Route, UNMATCHED};
use crate::mark::Mark;
use crate::runtime::registry::DetectorId;
use crate::slot::LabelId;

/// The methods in labels, by number; the last is no method.
const METHODS: [&str; 11] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "PATCH", "TRACE", "_OTHER", ""];
/// The number for labels without a method.
pub(super) const NO_METHOD: u8 = 10;

/// The labels of one layer: those of its threshold.
#[derive(Clone, Debug)]
pub(super) struct LayerLabels {
    pub(super) table: Arc<LabelTable>,
    pub(super) detector: DetectorId,
    pub(super) threshold: Nanos,
    unmatched: LabelId,
    other: LabelId,
    /// What readiness checks are marked with.
    pub(super) poll_ready: Mark,
    #[cfg(feature = "axum")]
    known_paths: matched_path::KnownPaths,
}

impl LayerLabels {
    pub(super) fn new(table: Arc<LabelTable>, detector: DetectorId, threshold: Nanos) -> Self {
        let label_id = |label| table.id(label, threshold, PollKind::Request);
        let (unmatched, other) = (label_id(UNMATCHED), label_id(OTHER));
        let label_id = table.id(POLL_READY, threshold, PollKind::Task);
        Self {
            table,
            detector,
            threshold,
            unmatched,
            other,
            poll_ready: Mark { detector, label_id },
            #[cfg(feature = "axum")]
            known_paths: matched_path::KnownPaths::default(),
        }
    }

    /// The label of a route, made when the route is new.
    pub(super) fn of_route(&self, method: u8, path: &str) -> LabelId {
        self.table.of_route(self.route(method, path), METHODS[usize::from(method)])
    }

    /// The label of a gRPC request. If its method has none, also what gives it one after a good answer.
    #[inline(never)]
    pub(super) fn of_grpc(&self, head: RequestHead<'_>) -> (LabelId, Option<Box<LearnMethod>>) {
        if let Some(label_id) = self.table.of_known_route(self.route(NO_METHOD, head.uri.path())) {
            return (label_id, None);
        }
        let learn = (!self.table.is_full())
            .then(|| Box::new(LearnMethod { labels: self.clone(), uri: head.uri.clone() }));
        (self.of_matched_path(head), learn)
    }

    #[cfg(not(feature = "axum"))]
    pub(super) fn of_matched_path(&self, _: RequestHead<'_>) -> LabelId {
        self.unmatched
    }

    fn route<'a>(&self, method: u8, path: &'a str) -> Route<'a> {
        Route { unmatched: self.unmatched, other: self.other, method, path }
    }
}

/// A gRPC request whose method has no label yet.
#[derive(Debug)]
pub(super) struct LearnMethod {
    labels: LayerLabels,
    uri: Uri,
}

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

impl LearnMethod {
    /// Reads the head of the response. Returns `self` if the gRPC status is still to come.
    #[cold]
    pub(super) fn from_head<B>(self: Box<Self>, response: &Response<B>) -> Option<Box<Self>> {
        let is_ok = response.status() == StatusCode::OK;
        if is_ok { self.from_status(response.headers()) } else { None }
    }

    /// Reads the gRPC status from trailers, or from the headers of a response without a body. Returns
    /// `self` if there is none.
    pub(super) fn from_status(self: Box<Self>, headers: &HeaderMap) -> Option<Box<Self>> {
        let Some(status) = headers.get("grpc-status") else { return Some(self) };
        if status.as_bytes() == b"0" {
            self.labels.of_route(NO_METHOD, self.uri.path());
        }
        None
    }
}

#[cfg(feature = "axum")]
mod matched_path {
    //! Labels by axum's matched path.

    use std::sync::OnceLock;

    use axum::extract::MatchedPath;
    use http::Method;

    use super::LayerLabels;
    use crate::labels::scatter;
    use crate::layer::request::RequestHead;
    use crate::slot::LabelId;

    const OTHER_METHOD: u8 = 9;

    /// A power of two, several times the number of a service's busy routes.
    const PLACES: usize = 128;

    /// A cache of labels by the address of the path's text: the first path keeps its place. An axum
    /// router gives the same text for a route each time, unless it is nested.
    #[derive(Debug)]
    pub(super) struct KnownPaths([OnceLock<KnownPath>; PLACES]);

    #[derive(Debug)]
    struct KnownPath {
        method: u8,
        /// Kept alive, so that no other path gets its address.
        path: MatchedPath,
        label_id: LabelId,
    }

    impl LayerLabels {
        #[inline]
        pub(in crate::layer) fn of_matched_path(&self, head: RequestHead<'_>) -> LabelId {
            let Some(path) = head.extensions.get::<MatchedPath>() else {
                self.table.count_unmatched();
                return self.unmatched;
            };
            let method = number(head.method);
            match self.known_paths.0[place(method, path)].get() {
                Some(known) if known.is(method, path) => known.label_id,
                _ => self.of_path_text(method, path),
            }
        }

        #[inline(never)]
        fn of_path_text(&self, method: u8, path: &MatchedPath) -> LabelId {
            let label_id = self.of_route(method, path.as_str());
            let known = || KnownPath { method, path: path.clone(), label_id };
            self.known_paths.0[place(method, path)].get_or_init(known);
            label_id
        }
    }

    impl Default for KnownPaths {
        fn default() -> Self {
            Self([const { OnceLock::new() }; PLACES])
        }
    }

    /// A clone starts empty: label ids differ per layer.
    impl Clone for KnownPaths {
        fn clone(&self) -> Self {
            Self::default()
        }
    }

    impl KnownPath {
        #[inline]
        fn is(&self, method: u8, path: &MatchedPath) -> bool {
            self.method == method && std::ptr::eq(self.path.as_str(), path.as_str())
        }
    }

    #[inline]
    fn place(method: u8, path: &MatchedPath) -> usize {
        let address = path.as_str().as_ptr().addr() as u64;
        scatter(address ^ u64::from(method)) % PLACES
    }

    /// The number of a method in `METHODS`; all non-standard ones share one.
    #[inline]
    fn number(method: &Method) -> u8 {
        match *method {
            Method::GET => 0,
            Method::POST => 1,
            Method::PUT => 2,
            Method::DELETE => 3,
            Method::HEAD => 4,
            Method::OPTIONS => 5,
            Method::CONNECT => 6,
            Method::PATCH => 7,
            Method::TRACE => 8,
            _ => OTHER_METHOD,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::layer::labels::METHODS;

        #[test]
        fn made_up_methods_share_a_number() {
            let prefix = |method: &Method| METHODS[usize::from(number(method))];
            let made_up = Method::from_bytes(b"FOO1").expect("a token");
            assert_eq!(prefix(&made_up), "_OTHER");
            for standard in [Method::GET, Method::DELETE, Method::PATCH, Method::TRACE] {
                assert_eq!(prefix(&standard), standard.as_str());
            }
        }
    }
}
