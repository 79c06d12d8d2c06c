//! Bodies: events, streams with trailers, streams that break, uploads raw and in parts.

use std::convert::Infallible;
use std::fmt::Write;
use std::hash::{DefaultHasher, Hasher};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Multipart};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{Stream, stream};
use http::{HeaderMap, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};

use super::both::{self, Both, Place, Trap, bytes, connect, full, send_as};
use crate::support::LIMIT;

/// Numbers, each after the task has let others run; at the third it may block.
fn numbers(trap: &Trap, count: u32) -> impl Stream<Item = u32> + Send + use<> {
    let trap = trap.clone();
    stream::unfold(0, move |number| {
        let trap = trap.clone();
        async move {
            tokio::task::yield_now().await;
            if number == 2 {
                trap.spring();
            }
            (number < count).then_some((number, number + 1))
        }
    })
}

fn events(trap: &Trap) -> impl IntoResponse + use<> {
    use futures_util::StreamExt;
    let events = numbers(trap, 5).map(|number| {
        let event = Event::default().event("count").id(number.to_string());
        Ok::<_, Infallible>(event.data(format!("line one\nline {number}")).comment("counted"))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(LIMIT))
}

fn streamed(trap: &Trap) -> Response {
    use futures_util::StreamExt;
    let frames = numbers(trap, 40).map(|number| {
        Ok::<_, Infallible>(match number {
            39 => Frame::trailers(HeaderMap::from_iter([
                ("x-sum".parse().expect("a name"), "780".parse().expect("a value")),
                ("x-end".parse().expect("a name"), "yes".parse().expect("a value")),
            ])),
            _ => Frame::data(Bytes::from(vec![number as u8; 10_000])),
        })
    });
    ([("trailer", "x-sum, x-end")], Body::new(StreamBody::new(frames))).into_response()
}

fn broken(trap: &Trap) -> Body {
    use futures_util::StreamExt;
    Body::from_stream(numbers(trap, 5).map(|number| match number {
        4 => Err("broken"),
        _ => Ok(format!("{number}\n")),
    }))
}

fn responses(place: &Place, trap: &Trap) -> Router {
    let [one, two, three] = [(); 3].map(|()| trap.clone());
    place.on(Router::new()
        .route("/events", get(async move || events(&one)))
        .route("/streamed", get(async move || streamed(&two)))
        .route("/broken", get(async move || broken(&three)))
        .route("/empty", get(async || Body::empty()))
        .route("/full", get(async || vec![7; 300_000])))
}

#[test]
fn streams_come_through() {
    let both = Both::new(responses);
    let seen = both.answers(&both::get("/events"), 200);
    assert_eq!(seen.headers["content-type"], "text/event-stream");
    assert_eq!((seen.length, seen.body.windows(2).filter(|end| end == b"\n\n").count()), (None, 5));
    let mut request = both::get("/streamed");
    request.headers_mut().insert("te", "trailers".parse().expect("a header"));
    let seen = both.answers(&request, 200);
    assert_eq!((seen.body.len(), seen.length), (390_000, None));
    assert_eq!(seen.trailers.expect("trailers")["x-sum"], "780");
    let raw = bytes(both.layered, &request);
    assert!(String::from_utf8_lossy(&raw).ends_with("x-end: yes\r\n\r\n"), "by HTTP/1.1 too");
    let seen = both.answers(&both::get("/full"), 200);
    assert_eq!((seen.body.len(), seen.length), (300_000, Some(300_000)));
    let seen = both.answers(&both::get("/empty"), 200);
    assert_eq!((seen.length, seen.is_end_stream), (Some(0), true));
    both.answers(&both::request("HEAD", "/streamed"), 200);

    both.finds("GET /events", &both::get("/events"));
    both.finds("GET /streamed", &request);
}

#[test]
fn a_body_that_breaks_breaks_the_same_way() {
    let both = Both::new(responses);
    let errors = [both.bare, both.layered].map(|address| {
        both.clients.block_on(async {
            let mut client = connect(address).await;
            let answer = client.send_request(full(&both::get("/broken"))).await;
            let error = answer.expect("a head").into_body().collect().await.expect_err("broken");
            // The connection has not suffered.
            let answer = client.send_request(full(&both::get("/full"))).await;
            let body = answer.expect("a head").into_body().collect().await.expect("a body");
            (format!("{error:?}"), body.to_bytes().len())
        })
    });
    assert_eq!(errors[0], errors[1]);
    assert_eq!(errors[0].1, 300_000);
    let [bare, layered] = [both.bare, both.layered].map(|at| bytes(at, &both::get("/broken")));
    assert_eq!(bare, layered);
    assert!(!bare.ends_with(b"0\r\n\r\n"), "its end is missing");
    both.finds("GET /broken", &both::get("/broken"));
}

/// Reads frame by frame, blocks after the first, and answers what came.
async fn digest(trap: &Trap, mut body: Body) -> Result<String, String> {
    let (mut length, mut hasher) = (0, DefaultHasher::new());
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| error.to_string())?;
        if length == 0 {
            trap.spring();
        }
        // What has come meanwhile is much.
        tokio::task::yield_now().await;
        if let Ok(data) = frame.into_data() {
            length += data.len();
            hasher.write(&data);
        }
    }
    Ok(format!("{length} {:x}", hasher.finish()))
}

async fn parts(trap: &Trap, mut form: Multipart) -> Result<String, Response> {
    let mut told = String::new();
    while let Some(field) = form.next_field().await.map_err(IntoResponse::into_response)? {
        let about = format!("{:?} {:?} {:?}", field.name(), field.file_name(), field.headers());
        trap.spring();
        let data = field.bytes().await.map_err(IntoResponse::into_response)?;
        let mut hasher = DefaultHasher::new();
        hasher.write(&data);
        writeln!(told, "{about} {} {:x}", data.len(), hasher.finish()).expect("a string");
    }
    Ok(told)
}

fn uploads(place: &Place, trap: &Trap) -> Router {
    let [one, two] = [(); 2].map(|()| trap.clone());
    let raw = async move |body: Body| match digest(&one, body).await {
        Ok(told) => (StatusCode::OK, told),
        Err(error) => (StatusCode::BAD_REQUEST, error),
    };
    let limited = post(async |body: Bytes| body.len().to_string()).layer(DefaultBodyLimit::max(9));
    place.on(Router::new()
        .route("/raw", post(raw))
        .route("/parts", post(async move |form: Multipart| parts(&two, form).await))
        .route("/echo", post(async |body: Body| body))
        .layer(DefaultBodyLimit::disable())
        .route("/limited", limited))
}

/// More than the buffers of sockets, and no two stretches alike.
fn much(length: u32) -> Bytes {
    (0..length).map(|at| (at ^ (at >> 8).wrapping_mul(31)) as u8).collect()
}

const FORM: &str = "multipart/form-data; boundary=here";

/// A form with a field and a file; `end` is what follows the file.
fn form(file: &[u8], end: &[u8]) -> Bytes {
    let field = "--here\r\ncontent-disposition: form-data; name=\"field\"\r\n\r\nvalue\r\n";
    let head = "--here\r\ncontent-disposition: form-data; name=\"file\"; filename=\"a b.bin\"\r\n\
                content-type: application/octet-stream\r\nx-more: here\r\n\r\n";
    [field.as_bytes(), head.as_bytes(), file, end].concat().into()
}

#[test]
fn uploads_come_through() {
    let both = Both::new(uploads);
    let raw = send_as("POST", "/raw", "application/octet-stream", much(12 << 20));
    let told = both.answers(&raw, 200).body;
    assert!(told.starts_with(b"12582912 "), "{told:?}");
    let echo = send_as("POST", "/echo", "application/octet-stream", much(4 << 20));
    assert!(both.answers(&echo, 200).body == *echo.body(), "as it was sent");

    let whole = send_as("POST", "/parts", FORM, form(&much(3 << 20), b"\r\n--here--\r\n"));
    let told = both.answers(&whole, 200).body;
    assert!(String::from_utf8_lossy(&told).contains("\"a b.bin\""), "{told:?}");
    both.answers(&send_as("POST", "/parts", FORM, form(b"cut", b"")), 400);
    both.answers(&send_as("POST", "/parts", "multipart/form-data", form(b"", b"")), 400);
    both.answers(&send_as("POST", "/parts", "text/plain", form(b"", b"")), 400);
    both.answers(&send_as("POST", "/limited", "text/plain", "nine byte"), 200);
    both.answers(&send_as("POST", "/limited", "text/plain", "nine bytes"), 413);

    both.finds("POST /raw", &raw);
    both.finds("POST /parts", &whole);
}
