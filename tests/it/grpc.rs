//! Labels of gRPC methods, which arrive as raw paths, over plain HTTP services.

use std::borrow::Cow;
use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::Layer;
use tower_stall::StallLayer;

use crate::labels::Asker;

/// How a made-up server answers.
#[derive(Clone, Copy)]
struct Answer {
    status: StatusCode,
    grpc: &'static str,
    /// In the headers of an answer without a body.
    trailers_only: bool,
}

const OK: Answer = Answer { status: StatusCode::OK, grpc: "0", trailers_only: false };

fn respond(answer: Answer) -> Response<Body> {
    let status = HeaderValue::from_static(answer.grpc);
    let response = Response::builder().status(answer.status);
    if answer.trailers_only {
        return response.header("grpc-status", status).body(Body::empty()).expect("an answer");
    }
    let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), status)]);
    let message = Full::new(Bytes::from_static(&[0; 5]));
    let body = message.with_trailers(std::future::ready(Some(Ok(trailers))));
    response.body(Body::new(body)).expect("an answer")
}

/// The labels of requests to one service, in turn.
fn labels<const N: usize>(
    asker: &Asker,
    layer: &StallLayer,
    answer: Answer,
    paths: [&str; N],
) -> [Cow<'static, str>; N] {
    paths.map(|path| label(asker, layer, answer, "POST", "application/grpc+proto", path))
}

fn label(
    asker: &Asker,
    layer: &StallLayer,
    answer: Answer,
    method: &str,
    content_type: &str,
    path: &str,
) -> Cow<'static, str> {
    let block = asker.blocking();
    let service = tower::service_fn(move |_: Request| {
        block();
        std::future::ready(Ok::<_, Infallible>(respond(answer)))
    });
    let request = http::Request::builder().method(method).uri(path);
    let request = request.header("content-type", content_type).body(Body::empty());
    asker.stall(layer.layer(service), request.expect("a request")).handler
}

#[test]
fn a_method_is_learned_from_an_answer_that_is_ok() {
    let asker = Asker::new(|builder| builder);
    let layer = asker.layer();
    let path = "/shop.Cart/Add";
    assert_eq!(labels(&asker, &layer, OK, [path, path, path]), ["unmatched", path, path]);
    let other = "/shop.Cart/Remove";
    assert_eq!(labels(&asker, &layer, OK, [other, other]), ["unmatched", other]);
}

#[test]
fn from_the_headers_of_an_answer_without_a_body_too() {
    let asker = Asker::new(|builder| builder);
    let path = "/shop.Cart/Add";
    let answer = Answer { trailers_only: true, ..OK };
    assert_eq!(labels(&asker, &asker.layer(), answer, [path, path]), ["unmatched", path]);
}

#[test]
fn an_answer_that_is_not_ok_teaches_nothing() {
    let asker = Asker::new(|builder| builder);
    let layer = asker.layer();
    let path = "/made.Up/Method";
    for trailers_only in [false, true] {
        let unimplemented = Answer { grpc: "12", trailers_only, ..OK };
        assert_eq!(labels(&asker, &layer, unimplemented, [path, path]), ["unmatched"; 2]);
        let not_found = Answer { status: StatusCode::NOT_FOUND, trailers_only, ..OK };
        assert_eq!(labels(&asker, &layer, not_found, [path, path]), ["unmatched"; 2]);
    }
}

#[test]
fn declared_methods_have_their_labels_from_the_first_request_on() {
    let asker = Asker::new(|builder| builder);
    let layer = asker.layer().grpc_methods(["/shop.Cart/Add", "shop.Cart/Remove"]);
    let failing = Answer { grpc: "13", ..OK };
    assert_eq!(
        labels(&asker, &layer, failing, ["/shop.Cart/Add", "/shop.Cart/Remove", "/shop.Cart/No"]),
        ["/shop.Cart/Add", "/shop.Cart/Remove", "unmatched"]
    );
}

#[test]
fn only_grpc_requests_have_such_labels() {
    let asker = Asker::new(|builder| builder);
    let layer = asker.layer().grpc_methods(["/shop.Cart/Add"]);
    let label =
        |method, content_type| label(&asker, &layer, OK, method, content_type, "/shop.Cart/Add");
    assert_eq!(label("POST", "application/grpc"), "/shop.Cart/Add");
    assert_eq!(label("POST", "application/json"), "unmatched");
    assert_eq!(label("GET", "application/grpc"), "unmatched");
}
