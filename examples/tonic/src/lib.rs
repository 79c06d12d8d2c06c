//! The messages, client and server of `proto/echo.proto`, as generated.

/// The package `echo.v1`.
#[allow(
    missing_docs,
    missing_debug_implementations,
    rust_2018_idioms,
    unreachable_pub,
    clippy::all,
    reason = "generated"
)]
#[rustfmt::skip]
#[path = "generated/echo.v1.rs"]
pub mod v1;

/// The description of the service, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!("generated/echo.bin");
