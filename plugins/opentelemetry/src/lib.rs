//! Stalls as OpenTelemetry spans, and tower-stall's metrics as OpenTelemetry instruments.
//!
//! A service that has an OpenTelemetry SDK adds a line for each:
//!
//! ```
//! use axum::Router;
//! use opentelemetry_sdk::metrics::SdkMeterProvider;
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//! use tower_stall::StallDetector;
//! use tower_stall_opentelemetry::{StallMetrics, StallSpans, trace_id};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tracers = SdkTracerProvider::builder().build(); // those of your service
//!     let meters = SdkMeterProvider::builder().build();
//!
//!     StallMetrics::new(&meters).install()?; // the metrics
//!     let stall = StallDetector::builder()
//!         .facade(true)
//!         .on_stall(StallSpans::new(&tracers)) // the spans
//!         .start()?;
//!     let app: Router = Router::new().layer(stall.layer().trace_id(trace_id)); // below their requests
//! #   drop(app);
//!     Ok(())
//! }
//! ```
//!
//! # Spans
//!
//! [`StallSpans`] makes a span of each stall when it is over, from when the worker was blocked to when it was
//! free. [`trace_id`] gives the stall layer the span of each request, so that the stall's span is its child.
//!
//! # Metrics
//!
//! [`StallMetrics`] is a recorder of the `metrics` facade. What the facade gets is recorded by OpenTelemetry's
//! instruments: tower-stall's metrics under the names of [`METRICS`], all others under their own.
//!
//! # What it needs
//!
//! OpenTelemetry's API 0.33, metrics 0.24 and Rust 1.88, as tower-stall does. The SDK and the exporter are the service's.
//! Choose exporters with threads of their own: a runtime that is blocked exports nothing.
//! `examples/otel` in the repository has such ones, for OTLP.
//!
//! # Limitations
//!
//! - A stall that never ends has no span before the detector ends.
//! - A stall knows the trace of its request alone. Where several requests of one trace are here at a time, the
//!   span is below the one that began last, and has the attribute `tower_stall.parent_guessed`.
//! - [`trace_id`] knows the last 16,384 requests of the process, in 0.8 MB. A stall is looked up within half a
//!   second after its threshold. If more requests than that have come since its own, its span has its trace, and a
//!   parent that nobody knows.
//! - Counters of the facade are whole numbers, so those of seconds grow by whole seconds.

mod attributes;
mod metrics;
mod names;
mod requests;
mod spans;

use opentelemetry::InstrumentationScope;

pub use self::metrics::{InstallError, StallMetrics};
pub use self::names::{METRICS, MetricName};
pub use self::requests::trace_id;
pub use self::spans::StallSpans;

/// What all spans and metrics are from.
fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("tower_stall")
        .with_version(env!("CARGO_PKG_VERSION"))
        .with_schema_url(opentelemetry_semantic_conventions::SCHEMA_URL)
        .build()
}
