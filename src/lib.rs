//! Finds the code that blocks a Tokio runtime while it blocks.
//!
//! ```
//! use tower::ServiceExt;
//!
//! async fn hello() -> &'static str {
//!     std::thread::sleep(std::time::Duration::from_secs(1)); // blocks a worker
//!     "hello"
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let stall = tower_stall::StallDetector::builder().start()?; // watches this runtime
//!     let app = axum::Router::new()
//!         .route("/hello", axum::routing::get(hello))
//!         .layer(stall.layer());
//!
//!     let request = axum::http::Request::get("/hello").body(axum::body::Body::empty())?;
//!     tokio::spawn(app.oneshot(request)).await??; // axum::serve, in a real service
//! #   if cfg!(feature = "axum") {
//!     assert_eq!(stall.stalls()[0].handler, "GET /hello");
//! #   }
//!     Ok(())
//! }
//! ```
//!
//! With a `tracing` subscriber there is a warning as soon as the handler has blocked its worker for
//! 100 ms, with cause, line and fix, and a line when it ends.
//!
//! [`layer()`] is all this in one line, for a first look. [`_documentation`] is the book:
//! [start](_documentation::start), [understand a report](_documentation::report),
//! [fix](_documentation::causes), [production](_documentation::production).
//!
//! # Why use it, and why not
//!
//! A handler that blocks delays every task behind it, and is hard to find: traces and latency
//! metrics show who had to wait, and Tokio's own counters do not move while a poll lasts. A watchdog
//! thread looks at what each worker polls. So a stall that never ends is seen too, on stable Tokio
//! and with the name of its handler.
//!
//! It is no profiler, and does not show what tasks wait for: that is what tokio-console is for. It does not
//! look at polls shorter than its threshold: use tokio-metrics for their distribution.
//!
//! # What is named
//!
//! | code | by |
//! |---|---|
//! | requests | [`StallDetector::layer`]; the module [`layer`](mod@layer) says where to put it |
//! | other tasks | [`StallDetector::watched`], [`WatchExt::watched_by`] |
//! | every task of a runtime, under `--cfg tokio_unstable` | [`RuntimeBuilderExt::stall_hooks`] |
//! | a root future without a worker | [`StallDetector::watched_root`] |
//! | a block that is meant to be there | [`allow_blocking`]: counted, and no stall |
//!
//! # Outputs
//!
//! - **Log**: `tracing` events with the target `tower_stall`, at the start of a stall, while it lasts and
//!   at its end. [`_documentation::report`] explains them part by part. [`DelayedLayer`] tells a request
//!   that had to wait, in its own span.
//! - **Metrics**: [`METRICS`] has the table. They go one way: to `/metrics` with
//!   [`Builder::admin`], else, or with [`Builder::facade`], to the recorder of the `metrics` facade.
//! - **Code**: [`StallDetector::stalls`] and [`Builder::on_stall`] give [`Stall`] records.
//! - **Spans**: [`DelayedLayer`] tells a request, in its own span, for which stall it may have waited.
//! - **Page**: `/stalls` with [`Builder::admin`] ([`_documentation::page`]), and the same for
//!   programs, `/stalls.json`.
//! - **Profiles** for Pyroscope, Parca, pprof and others with the feature `profile`
//!   ([`_documentation::profiles`]).
//! - **Probes**: `/livez` and `/readyz` with [`Builder::admin`], or [`StallDetector::health`] for a server
//!   of your own ([`_documentation::health`]).
//!
//! [`Builder::admin`] serves them on a thread of its own, also while every worker is blocked.
//!
//! # Mitigations
//!
//! - A blocked worker can hold up all timers and sockets: an idle one is woken ([`Builder::rescue`]).
//! - [`ShedLayer`] turns requests away while the runtime is frozen.
//! - A runtime that is frozen makes the process not ready, and in the end dead: see [`Builder::dead_after`].
//!
//! # Settings
//!
//! [`Builder`] has a method for each. Each has an environment variable too
//! ([`_documentation::settings`]).
//!
#![doc = include_str!("../docs/features.md")]
//!
//! # Limitations
//!
//! - A poll is timed from when the watchdog first sees it, up to 25 ms after it begins. Polls hardly
//!   longer than the threshold may be missed.
//! - A task without a name is found where its stack proves that it blocks, as the handler `unattributed`.
//! - Causes are read on Linux alone, stacks and lines on x86_64 and aarch64 Linux. Lines need debug
//!   information.
//! - A program that is built with `panic = "abort"` has to give its runtime timers
//!   ([`enable_time`](tokio::runtime::Builder::enable_time)).
//!
//! [`_documentation::limits`] has all of them.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![deny(unsafe_code)]

#[cfg(feature = "admin")]
mod admin;
mod cause;
mod clock;
mod config;
mod delayed;
mod detector;
mod health;
mod inner_service;
mod label;
mod labels;
pub mod layer;
mod log_status;
mod mark;
mod metrics;
mod owned_thread;
#[cfg(feature = "admin")]
mod page;
mod procfs;
#[cfg(feature = "profile")]
mod profile;
mod report;
mod runtime;
mod shed;
mod slot;
mod stack;
mod stall;
mod sync;
#[allow(unsafe_code)]
mod sys;
#[cfg(feature = "testing")]
pub mod testing;
mod text;
mod ticker;
mod vitals;
mod watchdog;

/// What `fuzz/` calls, with all features on x86_64 Linux. Not public API.
#[cfg(fuzzing)]
#[doc(hidden)]
#[allow(unreachable_pub, reason = "not public API")]
pub mod fuzzing {
    pub use crate::admin::fuzz::*;
    pub use crate::config::fuzz::*;
    pub use crate::layer::fuzz::*;
    pub use crate::page::fuzz::*;
    pub use crate::procfs::fuzz::*;
    pub use crate::stack::fuzz::*;
}

#[doc = include_str!("../docs/README.md")]
pub mod _documentation {
    #[doc = include_str!("../docs/adopt.md")]
    pub mod adopt {}
    #[doc = include_str!("../docs/capture.md")]
    pub mod capture {}
    #[doc = include_str!("../docs/causes.md")]
    pub mod causes {}
    #[doc = include_str!("../docs/comparison.md")]
    pub mod comparison {}
    #[doc = include_str!("../docs/compatibility.md")]
    pub mod compatibility {}
    #[doc = include_str!("../docs/corpus.md")]
    pub mod corpus {}
    #[doc = include_str!("../docs/cost.md")]
    pub mod cost {}
    #[doc = include_str!("../docs/experiments.md")]
    pub mod experiments {}
    #[doc = include_str!("../docs/features.md")]
    pub mod features {}
    /// A page for each [cause](causes), with the code before and after.
    pub mod fix {
        #[doc = include_str!("../docs/fix/blocked.md")]
        pub mod blocked {}
        #[doc = include_str!("../docs/fix/cpu.md")]
        pub mod cpu {}
        #[doc = include_str!("../docs/fix/file_io.md")]
        pub mod file_io {}
        #[doc = include_str!("../docs/fix/lock.md")]
        pub mod lock {}
        #[doc = include_str!("../docs/fix/network_io.md")]
        pub mod network_io {}
        #[doc = include_str!("../docs/fix/process_wait.md")]
        pub mod process_wait {}
        #[doc = include_str!("../docs/fix/sleep.md")]
        pub mod sleep {}
        #[doc = include_str!("../docs/fix/starved.md")]
        pub mod starved {}
        #[doc = include_str!("../docs/fix/suspended.md")]
        pub mod suspended {}
        #[doc = include_str!("../docs/fix/throttled.md")]
        pub mod throttled {}
        #[doc = include_str!("../docs/fix/unknown.md")]
        pub mod unknown {}
    }
    #[doc = include_str!("../docs/fleet.md")]
    pub mod fleet {}
    #[doc = include_str!("../docs/health.md")]
    pub mod health {}
    #[doc = include_str!("../docs/kubernetes.md")]
    pub mod kubernetes {}
    #[doc = include_str!("../docs/layer.md")]
    pub mod layer {}
    #[doc = include_str!("../docs/limits.md")]
    pub mod limits {}
    #[doc = include_str!("../docs/metrics.md")]
    pub mod metrics {}
    #[doc = include_str!("../docs/opentelemetry.md")]
    pub mod opentelemetry {}
    #[doc = include_str!("../docs/page.md")]
    pub mod page {}
    #[doc = include_str!("../docs/platforms.md")]
    pub mod platforms {}
    #[doc = include_str!("../docs/prevent.md")]
    #[doc = "\n# The list\n\n```toml"]
    #[doc = include_str!("../docs/clippy.toml")]
    #[doc = "```"]
    pub mod prevent {}
    #[doc = include_str!("../docs/production.md")]
    pub mod production {}
    #[doc = include_str!("../docs/profiles.md")]
    pub mod profiles {}
    #[doc = include_str!("../docs/recipes.md")]
    pub mod recipes {}
    #[doc = include_str!("../docs/report.md")]
    pub mod report {}
    #[doc = include_str!("../docs/runbook.md")]
    pub mod runbook {}
    #[doc = include_str!("../docs/settings.md")]
    pub mod settings {}
    #[doc = include_str!("../docs/soak.md")]
    pub mod soak {}
    #[doc = include_str!("../docs/start.md")]
    pub mod start {}
    #[doc = include_str!("../docs/system-calls.md")]
    pub mod system_calls {}
    #[cfg(feature = "testing")]
    // Its code has the attribute.
    #[cfg_attr(feature = "macros", doc = include_str!("../docs/testing.md"))]
    #[cfg_attr(not(feature = "macros"), doc = "With the feature `macros` this chapter is here.")]
    pub mod testing {}
}

pub use config::BuildError;
pub use delayed::{DelayedFuture, DelayedLayer, DelayedService};
pub use detector::{Builder, LeftBehind, StallDetector, WatchExt, detector, layer};
pub use health::{Health, HealthReport, Readiness};
pub use layer::{StallLayer, StallService};
pub use mark::{RuntimeBuilderExt, RuntimeHooks, Watched, allow_blocking};
pub use metrics::{HISTOGRAM_BUCKETS, LAG_BUCKETS, METRICS, MetricInfo, MetricKind, STALL_BUCKETS};
#[cfg(feature = "profile")]
pub use profile::{ProfileWindow, StallProfile};
pub use report::OnStall;
pub use shed::{ShedAnswer, ShedFuture, ShedLayer, ShedService, Unavailable};
#[cfg(feature = "__bench")]
#[doc(hidden)]
#[allow(unused_imports, unreachable_pub, reason = "empty where no stack is taken")]
pub use stack::bench::*;
pub use stack::{Capture, ParseCaptureError, ParseSymbolsError, Symbols};
pub use stall::{
    Await, AwaitKind, Awaits, Cause, Degree, Frame, HeldBy, Holder, HoldingRole, HoldingThread,
    LaterSample, Site, Stack, Stall,
};
#[cfg(feature = "macros")]
#[doc(inline)]
pub use tower_stall_macros::test;
#[cfg(feature = "__bench")]
#[doc(hidden)]
#[allow(unreachable_pub, reason = "not public API")]
pub use watchdog::bench::*;
