//! Other ways to serve than `axum::serve`, and services in boxes and behind buffers.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::get;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tower::buffer::Buffer;
use tower::util::{BoxCloneSyncService, BoxService};
use tower::{BoxError, Layer, Service, ServiceBuilder};

use super::both::{self, Both, Place, Trap, request};
use crate::support::Rig;

/// Serves on a free port by hyper-util's connections, in a task of the runtime.
fn serve<S, B>(rig: &Rig, service: S) -> SocketAddr
where
    S: Service<Request<Incoming>, Response = Response<B>> + Clone + Send + 'static,
    S: Service<Request<Incoming>, Future: Send, Error: Into<BoxError>>,
    B: http_body::Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    let bind = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listener = rig.runtime.block_on(bind).expect("a port");
    let address = listener.local_addr().expect("an address");
    rig.runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let builder = Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// A service of no framework, which may block in its call or in its future.
fn plain(
    trap: &Trap,
) -> impl Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ Sync
+ 'static {
    let trap = trap.clone();
    tower::service_fn(move |request: Request<Incoming>| {
        let trap = trap.clone();
        let path = request.uri().path().to_owned();
        if path == "/call" {
            trap.spring();
        }
        async move {
            tokio::task::yield_now().await;
            if path == "/future" {
                trap.spring();
            }
            let told = format!("{} {path}", request.method());
            Ok(Response::builder().header("x-plain", "yes").body(told.into()).expect("an answer"))
        }
    })
}

/// The layer with labels for [`plain`].
fn labelled(place: &Place) -> Option<tower_stall::StallLayer> {
    place.0.clone().map(|layer| {
        layer.handler_name(|request| match request.uri().path() {
            "/call" => Some("the call".into()),
            "/future" => Some("the future".into()),
            _ => None,
        })
    })
}

#[track_caller]
fn check(both: &Both) {
    both.answers(&both::get("/call"), 200);
    both.answers(&both::get("/future"), 200);
    both.answers(&request("OPTIONS", "/future"), 200);
    both.finds("the call", &both::get("/call"));
    both.finds("the future", &both::get("/future"));
}

#[test]
fn connections_of_hyper_util() {
    check(&Both::served(|rig, place, trap| match labelled(place) {
        Some(layer) => serve(rig, layer.layer(plain(trap))),
        None => serve(rig, plain(trap)),
    }));
}

#[test]
fn a_router_on_connections_of_hyper_util() {
    let both = Both::served(|rig, place, trap| {
        let trap = trap.clone();
        let handler = async move |body: Bytes| {
            trap.spring();
            body
        };
        serve(rig, place.on(Router::new().route("/{name}", get(handler.clone()).post(handler))))
    });
    both.answers(&both::send_as("POST", "/echo", "text/plain", "echo"), 200);
    both.answers(&both::get("/no/such/page"), 404);
    both.finds("POST /{name}", &both::send_as("POST", "/echo", "text/plain", "echo"));
}

#[test]
fn behind_a_buffer_and_in_front_of_one() {
    check(&Both::served(|rig, place, trap| {
        let _inside = rig.runtime.enter();
        match labelled(place) {
            Some(layer) => serve(rig, Buffer::new(layer.layer(plain(trap)), 8)),
            None => serve(rig, Buffer::new(plain(trap), 8)),
        }
    }));
    let both = Both::served(|rig, place, trap| {
        let _inside = rig.runtime.enter();
        let buffer = Buffer::new(plain(trap), 8);
        match labelled(place) {
            Some(layer) => serve(rig, layer.layer(buffer)),
            None => serve(rig, buffer),
        }
    });
    both.answers(&both::get("/future"), 200);
    both.finds("the future", &both::get("/future"));
}

#[test]
fn in_boxes() {
    check(&Both::served(|rig, place, trap| match labelled(place) {
        Some(layer) => serve(rig, BoxCloneSyncService::new(layer.layer(plain(trap)))),
        None => serve(rig, BoxCloneSyncService::new(plain(trap))),
    }));
    // This box has no clones: a buffer shares it.
    check(&Both::served(|rig, place, trap| {
        let _inside = rig.runtime.enter();
        match labelled(place) {
            Some(layer) => serve(rig, Buffer::new(BoxService::new(layer.layer(plain(trap))), 8)),
            None => serve(rig, Buffer::new(BoxService::new(plain(trap)), 8)),
        }
    }));
}

#[test]
fn a_box_as_a_route() {
    let both = Both::new(|place, trap| {
        let trap = trap.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            trap.spring();
            std::future::ready(Ok::<_, Infallible>(Response::new(request.into_body())))
        });
        let limited = ServiceBuilder::new().concurrency_limit(2).service(service);
        let service = match &place.0 {
            Some(layer) => {
                let service = layer.layer(limited);
                BoxCloneSyncService::new(ServiceBuilder::new().map_response(boxed).service(service))
            }
            None => BoxCloneSyncService::new(limited),
        };
        Router::new().route_service("/{name}", service)
    });
    both.answers(&both::send_as("POST", "/echo", "text/plain", "echo"), 200);
    both.finds("POST /{name}", &both::send_as("POST", "/echo", "text/plain", "echo"));
}

fn boxed(response: Response<tower_stall::layer::ResponseBody<Body>>) -> Response<Body> {
    response.map(Body::new)
}
