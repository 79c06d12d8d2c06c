//! A tonic server under the layer, driven by tonic's own client.
//!
//! Service, codec and methods are written by hand: no code is generated, so no `protoc` is wanted.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tower::Service;
use tower_stall::{Stall, StallDetector, StallLayer};

use self::empty::Empty;

#[path = "../../support/empty.rs"]
mod empty;

const LIMIT: Duration = Duration::from_secs(60);

/// The service `shop.Cart`: `Add` and `Fail` block until the detector shows a further stall.
#[derive(Clone, Debug)]
struct Cart {
    stall: Arc<StallDetector>,
}

impl NamedService for Cart {
    const NAME: &'static str = "shop.Cart";
}

impl Service<http::Request<Body>> for Cart {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let stall = Arc::clone(&self.stall);
        let method = request.uri().path().to_owned();
        Box::pin(async move {
            let unary = tower::service_fn(move |_: Request<()>| {
                let (stall, method) = (Arc::clone(&stall), method.clone());
                async move {
                    block_until_seen(&stall);
                    match method.as_str() {
                        "/shop.Cart/Add" => Ok(Response::new(())),
                        "/shop.Cart/Fail" => Err(Status::internal("on purpose")),
                        _ => Err(Status::unimplemented("no such method")),
                    }
                }
            });
            Ok(Grpc::new(Empty).unary(unary, request).await)
        })
    }
}

/// A stall of that duration was a call that blocked, and no noise of a busy machine.
const LONG: Duration = Duration::from_millis(200);

/// The stalls of calls, newest first, without those that the environment caused.
fn long_stalls(stall: &StallDetector) -> Vec<Stall> {
    let stalls = stall.stalls().into_iter();
    stalls.filter(|stall| stall.duration >= LONG && !stall.cause.is_environment()).collect()
}

fn block_until_seen(stall: &StallDetector) {
    let before = long_stalls(stall).len();
    let start = Instant::now();
    while long_stalls(stall).len() == before && start.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(25));
    }
}

struct Rig {
    stall: Arc<StallDetector>,
    channel: Channel,
    runtime: Runtime,
}

/// Serves `Cart` under a layer of the detector, and connects.
fn serve(configure: impl FnOnce(StallLayer) -> StallLayer) -> Rig {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let stall = runtime.block_on(async { StallDetector::builder().start() });
    let stall = Arc::new(stall.expect("a detector"));
    let service = Cart { stall: Arc::clone(&stall) };
    let server = Server::builder().layer(configure(stall.layer())).add_service(service);
    let channel = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address");
        endpoint.connect().await.expect("a connection")
    });
    Rig { stall, channel, runtime }
}

impl Rig {
    /// Calls a method and returns its status.
    fn call(&self, method: &'static str) -> Code {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        let answer = self.runtime.block_on(async {
            client.ready().await.expect("a connection");
            let path = http::uri::PathAndQuery::from_static(method);
            client.unary(Request::new(()), path, Empty).await
        });
        answer.map_or_else(|status| status.code(), |_: Response<()>| Code::Ok)
    }

    /// The label under which a blocking call of the method is recorded.
    fn label(&self, method: &'static str, expected: Code) -> String {
        let known = long_stalls(&self.stall).len();
        assert_eq!(self.call(method), expected, "{method}");
        let start = Instant::now();
        loop {
            let stalls = long_stalls(&self.stall);
            if stalls.len() > known {
                assert_eq!(stalls.len(), known + 1, "one call, one record: {stalls:#?}");
                assert_eq!(stalls[0].requests_in_flight, 1);
                return stalls[0].handler.to_string();
            }
            assert!(start.elapsed() < LIMIT, "{method} was not seen");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

#[test]
fn a_method_is_learned_when_it_was_answered_well() {
    let rig = serve(|layer| layer);
    assert_eq!(rig.label("/shop.Cart/Add", Code::Ok), "unmatched");
    assert_eq!(rig.label("/shop.Cart/Add", Code::Ok), "/shop.Cart/Add");
}

#[test]
fn a_declared_method_has_its_label_even_if_it_always_fails() {
    let rig = serve(|layer| layer.grpc_methods(["shop.Cart/Fail"]));
    assert_eq!(rig.label("/shop.Cart/Fail", Code::Internal), "/shop.Cart/Fail");
}

#[test]
fn made_up_methods_are_never_learned() {
    let rig = serve(|layer| layer);
    for method in ["/shop.Cart/Drop", "/shop.Cart/Fail"] {
        let code = if method.ends_with("Fail") { Code::Internal } else { Code::Unimplemented };
        for _ in 0..2 {
            assert_eq!(rig.label(method, code), "unmatched", "{method}");
        }
    }
    assert_eq!(rig.call("/made.Up/Method"), Code::Unimplemented, "no such service");
}
