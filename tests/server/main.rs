//! The example service as a process of its own, under real clients: curl-like requests, signals,
//! wrk, a real Prometheus.
#![cfg(all(feature = "axum", feature = "admin"))]

#[cfg(feature = "capture")]
mod budget;
mod child;
#[cfg(all(feature = "capture", target_os = "linux"))]
mod commands;
#[cfg(feature = "capture")]
mod fleet;
mod hostile;
mod load;
#[cfg(all(feature = "capture", target_os = "linux"))]
mod pod;
mod process;
mod prometheus;
#[path = "../support/mod.rs"]
mod support;
