//! What a service and its operators see: the ordinary tests, in one binary. What needs a process
//! of its own runs in a child (`support/child.rs`).

mod allowed;
mod contract;
#[cfg(unix)]
mod fork;
mod hooks;
mod log;
#[cfg(feature = "admin")]
#[path = "../support/recorder.rs"]
mod recorder;
mod settings;
#[path = "../support/mod.rs"]
mod support;
mod types;
mod watched;

// These look at the admin server.
#[cfg(feature = "admin")]
mod admin;
#[cfg(feature = "admin")]
mod blocked_recorder;
#[cfg(feature = "admin")]
mod delayed;
#[cfg(feature = "admin")]
mod environment;
#[cfg(feature = "admin")]
mod health;
#[cfg(feature = "admin")]
mod lasting;
#[cfg(feature = "admin")]
mod late_recorder;
#[cfg(all(
    feature = "admin",
    feature = "capture",
    target_os = "linux",
    any(target_arch = "aarch64", target_arch = "x86_64")
))]
mod later;
#[cfg(all(target_os = "linux", feature = "admin"))]
mod leaks;
#[cfg(feature = "admin")]
mod profile;
#[cfg(feature = "admin")]
mod stuck_stdout;

// These also at labels from axum's `MatchedPath`.
#[cfg(all(feature = "admin", feature = "axum"))]
mod coverage;
#[cfg(all(feature = "admin", feature = "capture"))]
mod facade;
#[cfg(all(feature = "admin", feature = "axum"))]
mod flood;
#[cfg(all(feature = "admin", feature = "axum"))]
mod grpc;
#[cfg(all(feature = "admin", feature = "axum"))]
mod labels;
#[cfg(all(feature = "admin", feature = "axum"))]
mod metrics_page;
#[cfg(all(feature = "admin", feature = "axum"))]
mod one_line;
#[cfg(all(feature = "admin", feature = "axum"))]
mod page;
#[cfg(all(feature = "admin", feature = "axum"))]
mod requests;
#[cfg(all(feature = "admin", feature = "axum"))]
mod services;
