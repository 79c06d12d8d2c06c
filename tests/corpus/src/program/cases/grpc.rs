//! tonic services. Codec and methods are written by hand: no code is generated, so no `protoc` is wanted.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::sleep;

use axum::http;
use futures::{Stream, StreamExt};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tower::Service;

use self::empty::Empty;
use crate::case::{Case, told};
use crate::stage::{LONG, Stage};

#[path = "../../../../support/empty.rs"]
mod empty;

const SLEEP: &str = "tokio::time::sleep";

pub(crate) const CASES: &[Case] = &[
    Case::new(
        "grpc-unary",
        "grpc/grpc-rust#1025",
        &[told("/jobs.Jobs/Ping", "sleep", "cases::grpc::ping", SLEEP)],
        |stage| serve(stage, "/jobs.Jobs/Ping"),
    ),
    Case::new(
        "grpc-server-stream",
        "grpc/grpc-rust#2302, ai-dynamo/dynamo#13952",
        &[told("/jobs.Jobs/Follow", "sleep", "cases::grpc::next_line", SLEEP)],
        |stage| serve(stage, "/jobs.Jobs/Follow"),
    ),
];

#[derive(Clone)]
struct Jobs;

impl NamedService for Jobs {
    const NAME: &'static str = "jobs.Jobs";
}

type Lines = Pin<Box<dyn Stream<Item = Result<(), Status>> + Send>>;

impl Service<http::Request<Body>> for Jobs {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let streams = request.uri().path().ends_with("Follow");
        Box::pin(async move {
            let mut grpc = Grpc::new(Empty);
            if streams {
                let follow = tower::service_fn(|_: Request<()>| async {
                    let lines = futures::stream::iter([1, 2]).map(next_line);
                    Ok::<_, Status>(Response::new(Box::pin(lines) as Lines))
                });
                return Ok(grpc.server_streaming(follow, request).await);
            }
            let unary = tower::service_fn(|_: Request<()>| async {
                ping();
                Ok(Response::new(()))
            });
            Ok(grpc.unary(unary, request).await)
        })
    }
}

#[inline(never)]
fn ping() {
    here!(sleep(LONG));
}

#[inline(never)]
fn next_line(number: u32) -> Result<(), Status> {
    if number == 2 {
        here!(sleep(LONG));
    }
    Ok(())
}

fn serve(stage: &Stage, method: &'static str) {
    let layer = stage.detector().layer().grpc_methods(["jobs.Jobs/Ping", "jobs.Jobs/Follow"]);
    let server = Server::builder().layer(layer).add_service(Jobs);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a flag");
    let address = listener.local_addr().expect("bound");
    stage.runtime().spawn(async move {
        let listener = tokio::net::TcpListener::from_std(listener).expect("it is");
        server.serve_with_incoming(TcpListenerStream::new(listener)).await
    });
    stage.guest(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(call(format!("http://{address}"), method));
    });
}

async fn call(address: String, method: &'static str) {
    let channel = Channel::from_shared(address).expect("an address").connect().await;
    let mut client = tonic::client::Grpc::new(channel.expect("a connection"));
    client.ready().await.expect("a connection");
    let path = http::uri::PathAndQuery::from_static(method);
    if method.ends_with("Follow") {
        let answer = client.server_streaming(Request::new(()), path, Empty).await;
        let lines = answer.expect("an answer").into_inner();
        assert_eq!(lines.count().await, 2);
    } else {
        client.unary(Request::new(()), path, Empty).await.expect("an answer");
    }
}
