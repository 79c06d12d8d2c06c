//! Finds the code that blocks a Tokio runtime while it blocks.
//!
//! ```
//! use tower::ServiceExt;
//!
//! async fn hello() -> &'static str {
//!     std::thread::sleep(std::time::Duration::from_millis(300)); // blocks a worker
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
//! 100 ms, from 1 s on one more whenever that time doubles, and a line at the end. With
//! [`Builder::admin`] a thread of its own serves `/metrics`, also while every worker is blocked.
//! [`layer()`] is all this in one line.
//!
//! # Why use it, and why not
//!
//! A handler that blocks delays every task behind it, and is hard to find: traces and latency
//! metrics show the victims, and Tokio's own counters do not move while a poll lasts. A watchdog
//! thread looks at what each worker polls, so a stall that never ends is seen too, on stable Tokio
//! and with the name of its handler.
//!
//! It names what is marked: requests through the [`layer`](mod@layer), [`Watched`] futures and, where
//! Tokio tells of them, all tasks. It does not profile, and does not trace what tasks wait for: that is what tokio-console is for. Polls shorter
//! than the threshold are not its concern; use tokio-metrics for their distribution.
//!
//! # What is marked
//!
//! | code | by |
//! |---|---|
//! | requests | [`StallDetector::layer`]: see [`layer`](mod@layer) for labels and for where to put it |
//! | other tasks | [`StallDetector::watched`], [`WatchExt::watched_by`] |
//! | every task of a runtime, under `--cfg tokio_unstable` | [`RuntimeBuilderExt::stall_hooks`] |
//! | a root future without a worker | [`StallDetector::watched_root`] |
//! | a block that is meant to be there | [`allow_blocking`]: counted, and no stall |
//!
//! # Where it tells
//!
//! - **Log**: `tracing` events with the target `tower_stall` and a field `event`: `stall_started`,
//!   `stall_continues`, `stall_ended`, `rescue`, `dead`. 10 stalls a minute of each handler, and 60 in
//!   all, are told from start to end, and each that lasts for 10 s; others are summed up once a minute.
//! - **Metrics**: [`METRICS`] has the table. They go one way: to `/metrics` with
//!   [`Builder::admin`], else, or with [`Builder::facade`], to the recorder of the `metrics` facade.
//! - **Code**: [`StallDetector::stalls`] and [`Builder::on_stall`] give [`Stall`] records.
//! - **Page**: `/stalls` with [`Builder::admin`] ([`_documentation::page`]), and the same for
//!   programs, `/stalls.json`.
//! - **Probes**: `/livez` and `/readyz` with [`Builder::admin`], [`StallDetector::health`] for a server
//!   of your own; [`_documentation::kubernetes`] says when the kubelet acts on them.
//!
//! # What it does about it
//!
//! - A blocked worker can hold up all timers and sockets: a parked one is woken ([`Builder::rescue`]).
//! - [`ShedLayer`] turns requests away while the runtime is frozen.
//! - A runtime that is frozen makes the process not ready, and in the end dead: see [`Builder::dead_after`].
//!
//! [`Builder`] has the settings and their environment variables.
//!
//! # Features
//!
//! | feature | default | what | cost |
//! |---|---|---|---|
//! | `axum` | yes | handler labels from axum's `MatchedPath` | none in an axum service |
//! | `admin` | yes | [`Builder::admin`]: metrics, answers to probes, the page of stalls | the Prometheus exporter with its crates, a template macro, and one thread |
//! | `flamegraph` | no | `/flamegraph.svg` beside that page | inferno, under CDDL-1.0, and its crates |
//! | `capture` | yes | the stack of the thread that is stuck | an unwinder and a reader of debug information, 11 small crates, and one thread |
//! | `testing` | no | `testing`: a project forbids blocking in its own tests | no crate; four threads while a test runs |
//!
//! # Limitations
//!
//! - A poll is timed from when the watchdog first sees it, at most one scan (a quarter of the
//!   threshold) after its begin: durations are short by that, and polls hardly longer than the
//!   threshold may be missed.
//! - A task that is not marked and blocks is a stall of the handler `unattributed` if a stack with
//!   debug information proves it (and, if it computes, the kernel counts breakpoints for the
//!   process). Else it shows only in `tokio_workers_saturated`, which also shows healthy workers under
//!   load.
//! - A poll that has lost its worker to `block_in_place` is not looked at until it returns.
//! - On a current-thread runtime only an open, marked poll or the stack of a plain one proves a stall
//!   or a freeze: a runtime that nobody drives looks like one that is frozen.
//! - Tokio tells by a panic whether a runtime has timers. The runtimes given to [`Builder::start`] and
//!   [`StallDetector::watch`] are asked once: if there are none, the panic hook of the process hears of
//!   it, and a program built with `panic = "abort"` ends there. Runtimes that are only met are not asked. On
//!   them, and without timers, the watchdog wakes each tick, so that lag is the time from that to the
//!   poll of the tick.
//! - [`Cause`]s are read from `/proc`, on Linux alone; their own limits are listed in
//!   [`_documentation::causes`]. Stacks are taken on x86_64 Linux alone, and
//!   [`_documentation::capture`] says what they show.
//! - Tested on x86_64 Linux.
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

/// Chapters that are too long for the items they are about.
pub mod _documentation {
    #[doc = include_str!("../docs/capture.md")]
    pub mod capture {}
    #[doc = include_str!("../docs/causes.md")]
    pub mod causes {}
    #[doc = include_str!("../docs/kubernetes.md")]
    pub mod kubernetes {}
    #[doc = include_str!("../docs/page.md")]
    pub mod page {}
    #[doc = include_str!("../docs/platforms.md")]
    pub mod platforms {}
    #[doc = include_str!("../docs/prevent.md")]
    #[doc = "\n# The list\n\n```toml"]
    #[doc = include_str!("../docs/clippy.toml")]
    #[doc = "```"]
    pub mod prevent {}
    #[doc = include_str!("../docs/system-calls.md")]
    pub mod system_calls {}
    #[cfg(feature = "testing")]
    #[doc = include_str!("../docs/testing.md")]
    pub mod testing {}
}

pub use config::BuildError;
pub use delayed::{DelayedFuture, DelayedLayer, DelayedService};
pub use detector::{Builder, LeftBehind, StallDetector, WatchExt, detector, layer};
pub use health::{Health, HealthReport, Readiness};
pub use layer::{StallLayer, StallService};
pub use mark::{RuntimeBuilderExt, RuntimeHooks, Watched, allow_blocking};
pub use metrics::{HISTOGRAM_BUCKETS, LAG_BUCKETS, METRICS, MetricInfo, MetricKind, STALL_BUCKETS};
pub use report::OnStall;
pub use shed::{ShedAnswer, ShedFuture, ShedLayer, ShedService, Unavailable};
#[cfg(feature = "__bench")]
#[doc(hidden)]
#[allow(unused_imports, unreachable_pub, reason = "empty where no stack is taken")]
pub use stack::bench::*;
pub use stack::{Capture, ParseCaptureError, ParseSymbolsError, Symbols};
pub use stall::{Cause, Frame, Site, Stack, Stall};
#[cfg(feature = "__bench")]
#[doc(hidden)]
#[allow(unreachable_pub, reason = "not public API")]
pub use watchdog::bench::*;
