//! The tests that need no process of their own, in one binary.

mod allowed;
mod contract;
mod events;
mod hooks;
mod log;
mod settings;
mod support;
mod watched;

// These look at `/metrics` or at labels from axum's `MatchedPath`.
#[cfg(all(feature = "admin", feature = "axum"))]
mod coverage;
#[cfg(all(feature = "admin", feature = "axum"))]
mod flood;
#[cfg(all(feature = "admin", feature = "axum"))]
mod grpc;
#[cfg(all(feature = "admin", feature = "axum"))]
mod labels;
#[cfg(all(feature = "admin", feature = "axum"))]
mod page;
#[cfg(all(feature = "admin", feature = "axum"))]
mod requests;
