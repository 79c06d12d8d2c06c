//! The same service twice, bare and with the layer, and clients that compare the two.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;
use tower_stall::StallLayer;

use crate::support::{Block, LIMIT, Rig, runtime, wait_until};

pub(crate) struct Both {
    pub(crate) rig: Rig,
    pub(crate) trap: Trap,
    /// Its own, so that a server that blocks holds up no client.
    pub(crate) clients: Runtime,
    pub(crate) bare: SocketAddr,
    pub(crate) layered: SocketAddr,
}

/// Blocks the handler that comes by next, once it is armed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trap(Arc<Mutex<Option<Block>>>);

impl Trap {
    pub(crate) fn spring(&self) {
        let armed = self.0.lock().expect("nobody panics with it").take();
        if let Some(block) = armed {
            block.run();
        }
    }

    pub(crate) fn arm(&self, block: Block) {
        *self.0.lock().expect("nobody panics with it") = Some(block);
    }

    fn is_armed(&self) -> bool {
        self.0.lock().expect("nobody panics with it").is_some()
    }
}

/// What a service puts where the layer is to be: nothing in the bare one.
#[derive(Clone, Debug)]
pub(crate) struct Place(pub(crate) Option<StallLayer>);

impl Place {
    pub(crate) fn on<S: Clone + Send + Sync + 'static>(&self, router: Router<S>) -> Router<S> {
        match &self.0 {
            Some(layer) => router.layer(layer.clone()),
            None => router,
        }
    }

    pub(crate) fn on_routes<S>(&self, router: Router<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        match &self.0 {
            Some(layer) => router.route_layer(layer.clone()),
            None => router,
        }
    }
}

/// All that an HTTP/2 client sees of an answer, but its date.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// What is known of the body when the head has come.
    pub(crate) length: Option<u64>,
    pub(crate) is_end_stream: bool,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Both {
    /// Both by `axum::serve`.
    pub(crate) fn new(app: impl Fn(&Place, &Trap) -> Router) -> Self {
        Self::served(|rig, place, trap| rig.serve(app(place, trap)))
    }

    /// Both as `serve` does it, which says at which address.
    pub(crate) fn served(serve: impl Fn(&Rig, &Place, &Trap) -> SocketAddr) -> Self {
        let rig = Rig::new(2, |builder| builder);
        let trap = Trap::default();
        let bare = serve(&rig, &Place(None), &trap);
        let layered = serve(&rig, &Place(Some(rig.stall.layer())), &trap);
        Self { rig, trap, clients: runtime(0), bare, layered }
    }

    /// Sends the request to both by HTTP/1.1 and by HTTP/2, compares all that comes back, and
    /// returns the latter's.
    #[track_caller]
    pub(crate) fn same(&self, request: &Request<Bytes>) -> Seen {
        let what = format!("{} {}", request.method(), request.uri());
        let [bare, layered] = [self.bare, self.layered].map(|address| bytes(address, request));
        assert!(bare == layered, "{what}:\n{}\n{}", start(&bare), start(&layered));
        let [bare, layered] = [self.bare, self.layered].map(|address| self.see(address, request));
        assert!(bare == layered, "{what}: {bare:?}\n{layered:?}");
        // On a busy machine a poll may have been long, and its end is seen by the next scan.
        self.wait_until_none_lasts();
        layered
    }

    /// The same, and the status.
    #[track_caller]
    pub(crate) fn answers(&self, request: &Request<Bytes>, status: u16) -> Seen {
        let seen = self.same(request);
        assert_eq!(seen.status, status, "{} {}: {seen:?}", request.method(), request.uri());
        seen
    }

    /// Arms the trap, sends the request to the one with the layer, and checks that the handler
    /// is found once, under that label.
    #[track_caller]
    pub(crate) fn finds(&self, handler: &'static str, request: &Request<Bytes>) {
        self.finds_while(handler, || drop(bytes(self.layered, request)));
    }

    /// The same with something else than a request.
    #[track_caller]
    pub(crate) fn finds_while(&self, handler: &'static str, act: impl FnOnce()) {
        let known = self.rig.long_stalls().len();
        self.trap.arm(self.rig.block(handler));
        act();
        wait_until(LIMIT, || self.rig.long_stalls().len() > known);
        self.wait_until_none_lasts();
        assert!(!self.trap.is_armed(), "{handler} came by");
        let stalls = self.rig.long_stalls();
        assert_eq!(stalls.len(), known + 1, "one block, one record: {stalls:#?}");
        assert_eq!(stalls[0].handler, handler, "{stalls:#?}");
    }

    #[track_caller]
    fn wait_until_none_lasts(&self) {
        wait_until(LIMIT, || self.rig.long_stalls().iter().all(|stall| !stall.in_progress));
    }

    pub(crate) fn see(&self, address: SocketAddr, request: &Request<Bytes>) -> Seen {
        self.clients.block_on(async {
            let mut client = connect(address).await;
            let answer = client.send_request(full(request)).await.expect("an answer");
            let (mut head, body) = answer.into_parts();
            head.headers.remove(http::header::DATE).expect("a date");
            let (length, is_end_stream) = (body.size_hint().exact(), body.is_end_stream());
            let body = body.collect().await.expect("a body");
            let trailers = body.trailers().cloned();
            Seen {
                status: head.status,
                headers: head.headers,
                length,
                is_end_stream,
                body: body.to_bytes(),
                trailers,
            }
        })
    }
}

/// A connection by HTTP/2, with the smallest windows.
pub(crate) async fn connect(address: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = tokio::net::TcpStream::connect(address).await.expect("a connection");
    let mut builder = Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let (client, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
    tokio::spawn(connection);
    client
}

/// The request as HTTP/2 wants it, with a host that is the same for both.
pub(crate) fn full(request: &Request<Bytes>) -> Request<Full<Bytes>> {
    let (mut head, body) = request.clone().into_parts();
    head.uri = format!("http://here{}", head.uri).parse().expect("a host and a path");
    Request::from_parts(head, Full::new(body))
}

pub(crate) async fn first_data(body: &mut Incoming) -> Bytes {
    let frame = body.frame().await.expect("a frame").expect("no error");
    frame.into_data().expect("data")
}

/// Connects and sends the request by HTTP/1.1.
pub(crate) fn send(address: SocketAddr, request: &Request<Bytes>) -> TcpStream {
    let socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(LIMIT)).expect("a time");
    let (method, uri, length) = (request.method(), request.uri(), request.body().len());
    let mut bytes = format!("{method} {uri} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n");
    if *method != Method::GET {
        bytes.push_str(&format!("content-length: {length}\r\n"));
    }
    for (name, value) in request.headers() {
        bytes.push_str(&format!("{name}: {}\r\n", value.to_str().expect("a text")));
    }
    bytes.push_str("\r\n");
    let mut writer = socket.try_clone().expect("a socket");
    let body = request.body().clone();
    // Beside the reader: an echo of much goes both ways at once.
    std::thread::spawn(move || {
        let _ = writer.write_all(bytes.as_bytes()).and_then(|()| writer.write_all(&body));
    });
    socket
}

/// All bytes of an answer by HTTP/1.1, but its date.
pub(crate) fn bytes(address: SocketAddr, request: &Request<Bytes>) -> Vec<u8> {
    let mut socket = send(address, request);
    let mut bytes = Vec::new();
    socket.read_to_end(&mut bytes).expect("an answer and its end");
    let _ = socket.shutdown(Shutdown::Both);
    let date = bytes.windows(8).position(|bytes| bytes == b"\r\ndate: ").expect("a date");
    let length = bytes[date + 2..].iter().position(|byte| *byte == b'\n').expect("a line");
    bytes.drain(date + 2..date + 3 + length);
    bytes
}

fn start(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&bytes[..bytes.len().min(2000)])
}

/// A request without a body.
pub(crate) fn request(method: &str, path: &str) -> Request<Bytes> {
    let request = Request::builder().method(method).uri(path);
    request.body(Bytes::new()).expect("a request")
}

pub(crate) fn get(path: &str) -> Request<Bytes> {
    request("GET", path)
}

/// A request with a body of that type.
pub(crate) fn send_as(
    method: &str,
    path: &str,
    content_type: &str,
    body: impl Into<Bytes>,
) -> Request<Bytes> {
    let mut request = request(method, path).map(|_| body.into());
    let content_type = HeaderValue::from_str(content_type).expect("a header");
    request.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    request
}
