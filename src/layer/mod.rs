//! The tower layer.
//!
#![doc = include_str!("../../docs/layer.md")]

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
