//! The tower layer.
//!
//! It covers, for each request, the synchronous part of `Service::call`, the polls of the
//! response future and its drop, the body's `poll_frame` and its drop; and `poll_ready`, which
//! has no request and counts as `poll_ready`.
//!
//! # Labels
//!
//! A label holds nothing that a stranger can choose. In this order:
//!
//! 1. what the function given to [`StallLayer::handler_name`] returns;
//! 2. for a gRPC request (`POST` with `content-type: application/grpc…`): the path
//!    `/pkg.Service/Method`, once it is declared by [`StallLayer::grpc_methods`] or was answered
//!    with HTTP 200 and `grpc-status: 0`;
//! 3. with the feature `axum`: method and `MatchedPath`, as in `GET /users/{id}`; methods
//!    outside the nine standard ones are `_OTHER`;
//! 4. `unmatched`, without a method.
//!
//! Labels past the detector's cap ([`Builder::max_handlers`](crate::Builder::max_handlers)) are `other`.
//!
//! # Where to put it in an axum service
//!
//! | where | label |
//! |---|---|
//! | `Router::layer`, after the routes | `GET /users/{id}` |
//! | `Router::layer` with a `ServiceBuilder` in it | `GET /users/{id}` |
//! | `Router::route_layer`, `MethodRouter::layer` | `GET /users/{id}` |
//! | inside or outside `Router::nest` | `GET /api/users/{id}` |
//! | inside or outside `Router::merge` | `GET /users/{id}` |
//! | a route's own fallback, for methods it does not have | `PUT /users/{id}` |
//! | `Router::fallback` | `unmatched` |
//! | outside `nest_service`, for what is inside it | `unmatched`; `GET /static` for the prefix itself |
//! | on a `Router` inside `nest_service` | `GET /static/{file}` |
//! | a `ServiceBuilder` around the whole `Router` | `unmatched` |
//! | routes added after `.layer(..)` | not covered |

mod body;
mod future;
#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod in_flight;
mod labels;
#[allow(clippy::module_inception)]
mod layer;
mod request;
mod service;
mod settings;

pub use body::ResponseBody;
pub use future::ResponseFuture;
pub(crate) use labels::is_grpc;
pub use layer::StallLayer;
pub use request::RequestHead;
pub use service::StallService;
