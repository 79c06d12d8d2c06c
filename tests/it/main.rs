//! The tests that need no process of their own, in one binary.

mod allowed;
mod contract;
mod hooks;
mod log;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod watched;

#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "admin")]
mod lasting;

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
