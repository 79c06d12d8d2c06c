//! Stalls as Sentry events: the handler that blocked, the stack of its thread, and one issue for each place.
//!
//! A service that has Sentry adds a line:
//!
//! ```
//! use axum::Router;
//! use tower_stall::StallDetector;
//! use tower_stall_sentry::StallEvents;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let _sentry = sentry::init(sentry::ClientOptions::default()); // that of your service
//!
//!     let stall = StallDetector::builder().on_stall(StallEvents::new()).start()?;
//!     let app: Router = Router::new().layer(stall.layer());
//! #   drop(app);
//!     Ok(())
//! }
//! ```
//!
//! # When
//!
//! [`StallEvents`] sends one event for each stall, when it has ended: cause, stack and duration are known then. A stall
//! that has not ended after ten seconds is sent while it lasts, and not again: it may be what the process is killed for.
//!
//! # What an event has
//!
//! | part of the event | what is in it |
//! |---|---|
//! | exception | `stall (sleep)`, and what the log says: handler, runtime, time, detail, place |
//! | stack trace | The frames of the blocked thread: function, file, line, address, and whether it is your code (`in_app`) |
//! | fingerprint | `tower-stall`, the cause, and the function of your code; without one, the handler. So one mistake is one issue, whichever route leads to it and whichever line it moves to |
//! | level | `error`; `warning` for what the environment did |
//! | transaction | the handler |
//! | trace context | the trace id of the request; without one, an id of its own |
//! | tags | `stall.cause`, `stall.handler`, `stall.site`, `stall.runtime`, `stall.fix`, `stall.duration` (a range, such as `0.25 s to 0.5 s`), `stall.in_progress` |
//! | context `stall` | all of that, and `id`, `worker`, `detail`, `duration_ms`, `workers`, `workers_stalled`, `requests_in_flight`, `delayed_requests`, `site_missing`, `stack_missing`, `stack_partial`, `last_seen`, `later`, `held_back` (stalls of the issue without an event since the last one) |
//!
//! The stack has lines where the program has debug information: `debug = "line-tables-only"` in its profile.
//!
//! # What it costs
//!
//! The service and the detector never wait for Sentry. A thread of its own, `stall-sentry`, makes the events, runs
//! `before_send` and the integrations, and gives them to Sentry's transport, which has its own thread. A panic
//! there is the end of one event.
//!
//! An issue has at most an event a minute, and the process 30 a minute. What is held back or dropped is counted by
//! [`EventCounts`] and in the metric `tower_stall_sentry_events_total` of the `metrics` facade, with the label `outcome`.
//!
//! # What it needs
//!
//! sentry 0.49 and Rust 1.88, as tower-stall does; sentry 0.49.4 and later need Rust 1.89. This crate brings no
//! transport along.
//!
//! # Limitations
//!
//! - The stack of a stall that is sent while it lasts is that of its begin. While another hook blocks the detector's
//!   thread, the end of a stall is not known, and it may be sent as one that lasts.
//! - Breadcrumbs, and tags besides those above, are those of Sentry's main hub. The request's own hub is not known.

mod counts;
mod event;
mod hook;
mod limits;
mod outbox;

pub use self::counts::{EventCounts, Outcome};
pub use self::hook::StallEvents;
