//! The layer changes no answer: heads, frames, trailers and ends are those without it.

use std::collections::BTreeMap;

use echo::v1::Ask;
use http::{HeaderMap, Request, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use prost::Message;
use tonic::body::Body;
use tonic_health::pb::HealthCheckRequest;
use tower::{Service, ServiceExt};

use super::support::{Server, WITHOUT, WORKERS};

/// All that a client sees of an answer, except when.
#[derive(Debug, PartialEq)]
struct Seen {
    status: StatusCode,
    headers: Headers,
    /// Known to have ended with the head: an answer without messages.
    ended_at_head: bool,
    /// The exact size, where it is known with the head.
    size: Option<u64>,
    data: Vec<u8>,
    trailers: Option<Headers>,
    ended: bool,
}

type Headers = BTreeMap<String, Vec<Vec<u8>>>;

fn sorted(headers: &HeaderMap) -> Headers {
    let mut sorted = Headers::new();
    for (name, value) in headers.iter().filter(|(name, _)| *name != "date") {
        sorted.entry(name.to_string()).or_default().push(value.as_bytes().to_vec());
    }
    sorted
}

/// Messages as they are sent: each with a flag and its length before it.
fn frames(messages: &[&impl Message]) -> Vec<u8> {
    let frame = |message: &&_| {
        let message = Message::encode_to_vec(*message);
        let length = u32::try_from(message.len()).expect("a short message");
        [&[0], &length.to_be_bytes()[..], &message].concat()
    };
    messages.iter().flat_map(frame).collect()
}

async fn see(server: &Server, path: &str, kind: &str, messages: Vec<u8>) -> Seen {
    let request = Request::post(format!("{}{path}", server.url))
        .header("content-type", kind)
        .header("te", "trailers")
        .header("x-text", "some")
        .header("x-text", "more")
        .header("x-bytes-bin", "AP8")
        .body(Body::new(Full::new(messages.into())))
        .expect("a request");
    let mut channel = server.channel.clone();
    let answer = channel.ready().await.expect("a connection").call(request).await;
    let (head, body) = answer.expect("an answer").into_parts();
    let (ended_at_head, size) = (body.is_end_stream(), body.size_hint().exact());
    let mut body = body;
    let (mut data, mut trailers) = (Vec::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.expect("no error").into_data() {
            Ok(more) => data.extend_from_slice(&more),
            Err(frame) => trailers = frame.into_trailers().ok().map(|fields| sorted(&fields)),
        }
    }
    Seen {
        status: head.status,
        headers: sorted(&head.headers),
        ended_at_head,
        size,
        data,
        trailers,
        ended: body.is_end_stream(),
    }
}

/// The answers to requests of all kinds, with what was asked.
async fn see_all(server: &Server) -> Vec<(String, Seen)> {
    let ask = Ask { text: "größer".into(), messages: 3, size: 100, ..Ask::default() };
    let large = Ask { size: 300_000, ..ask.clone() };
    let failing = Ask { status: 9, text: "50 % größer\n".into(), ..ask.clone() };
    let mut requests = Vec::new();
    for name in ["Unary", "ServerStream", "ClientStream", "Bidi"] {
        let path = format!("/echo.v1.Echo/{name}");
        for (what, ask) in [("ask", &ask), ("large", &large), ("failing", &failing)] {
            requests.push((what, path.clone(), "application/grpc", frames(&[ask])));
        }
        let failing_later = frames(&[&ask, &ask, &failing]);
        requests.push(("three", path.clone(), "application/grpc+proto", failing_later));
        requests.push(("nothing", path.clone(), "application/grpc", Vec::new()));
        requests.push(("rubbish", path.clone(), "application/grpc", vec![0, 0, 0, 0, 2, 255, 255]));
        requests.push(("no gRPC", path, "text/plain", frames(&[&ask])));
    }
    for path in ["/echo.v1.Echo/MadeUp", "/made.Up/MadeUp", "/"] {
        requests.push(("made up", path.into(), "application/grpc", frames(&[&ask])));
    }
    for service in ["echo.v1.Echo", "made.Up"] {
        let check = frames(&[&HealthCheckRequest { service: service.into() }]);
        let path = "/grpc.health.v1.Health/Check".into();
        requests.push((service, path, "application/grpc", check));
    }
    let mut seen = Vec::new();
    for (what, path, kind, messages) in requests {
        let answer = see(server, &path, kind, messages).await;
        seen.push((format!("{path}, {what}"), answer));
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_without_the_layer() {
    let (with, without) = (Server::start(WORKERS).await, Server::start(WITHOUT).await);
    let expected = see_all(&without).await;
    // They are of all sorts.
    let any = |is_it: fn(&Seen) -> bool| expected.iter().any(|(_, seen)| is_it(seen));
    assert!(any(|seen| seen.ended_at_head) && any(|seen| !seen.ended_at_head));
    assert!(any(|seen| seen.data.len() > 900_000) && any(|seen| seen.trailers.is_some()));
    same(see_all(&with).await, &expected);
    with.stall().await;
    same(see_all(&with).await, &expected);
    without.stall().await;
    same(see_all(&without).await, &expected);
}

#[track_caller]
fn same(seen: Vec<(String, Seen)>, expected: &[(String, Seen)]) {
    for ((what, seen), (_, expected)) in seen.iter().zip(expected) {
        assert_eq!(seen, expected, "{what}");
    }
    assert_eq!(seen.len(), expected.len());
}
