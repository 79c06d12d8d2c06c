//! The way out: spans and metrics by OTLP, from threads that no runtime can block.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData};

use crate::Error;

/// How long one request to the receiver may take.
const REQUEST: Duration = Duration::from_secs(10);
/// How long a shutdown waits for the receiver.
const FLUSH: Duration = Duration::from_secs(5);

/// Both ways out. Each has a thread of its own, which collects and sends; whoever makes a span only
/// puts it into a queue of 2,048, and drops it if that is full.
pub(crate) struct Telemetry {
    pub(crate) tracers: SdkTracerProvider,
    pub(crate) meters: SdkMeterProvider,
}

impl Telemetry {
    /// Starts both. Without an endpoint `OTEL_EXPORTER_OTLP_ENDPOINT` counts, else port 4318 here.
    pub(crate) fn start(endpoint: Option<&str>) -> Result<Self, Error> {
        let at = |path| endpoint.map(|base| format!("{}{path}", base.trim_end_matches('/')));
        let resource = Resource::builder().with_service_name("tower-stall-otel-example").build();

        let mut spans = SpanExporter::builder().with_http().with_http_client(Client::new());
        if let Some(url) = at("/v1/traces") {
            spans = spans.with_endpoint(url);
        }
        let tracers = SdkTracerProvider::builder()
            .with_batch_exporter(Told::new("spans", spans.build()?))
            .with_resource(resource.clone())
            .build();

        let mut metrics = MetricExporter::builder().with_http().with_http_client(Client::new());
        if let Some(url) = at("/v1/metrics") {
            metrics = metrics.with_endpoint(url);
        }
        let reader = PeriodicReader::builder(Told::new("metrics", metrics.build()?)).build();
        let meters =
            SdkMeterProvider::builder().with_reader(reader).with_resource(resource).build();
        Ok(Self { tracers, meters })
    }

    /// Sends what is left, for at most [`FLUSH`].
    pub(crate) fn end(&self) {
        let spans = thread::scope(|scope| {
            // The metrics' thread has its own limit, of 5 s.
            let metrics = scope.spawn(|| self.meters.shutdown());
            let spans = self.tracers.shutdown_with_timeout(FLUSH);
            drop(metrics.join());
            spans
        });
        if let Err(error) = spans {
            tracing::warn!("the last spans are lost: {error}");
        }
    }
}

/// An exporter that tells when it begins to fail and when it is well again, once each, and counts
/// the spans that are lost meanwhile. Nothing is lost of counters: they are sums since the start.
struct Told<E> {
    what: &'static str,
    exporter: E,
    failing: AtomicBool,
}

impl<E> Told<E> {
    fn new(what: &'static str, exporter: E) -> Self {
        Self { what, exporter, failing: AtomicBool::new(false) }
    }

    /// What came of an export. An error has been dealt with here, so nobody else logs it.
    fn tell(&self, came: OTelSdkResult) -> OTelSdkResult {
        let was_failing = self.failing.swap(came.is_err(), Relaxed);
        match came {
            Err(error) if !was_failing => tracing::warn!(
                "the receiver does not take {}, the service goes on without: {error}",
                self.what
            ),
            Ok(()) if was_failing => tracing::info!("the receiver takes {} again", self.what),
            _ => {}
        }
        Ok(())
    }
}

impl<E> fmt::Debug for Told<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Told").field(&self.what).finish()
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Told<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = u64::try_from(batch.len()).unwrap_or(u64::MAX);
        let came = self.exporter.export(batch).await;
        if came.is_err() {
            metrics::counter!("otlp_spans_lost_total").increment(count);
        }
        self.tell(came)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Told<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.tell(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// HTTP without a runtime: it blocks the thread that exports, and that alone.
#[derive(Debug)]
struct Client(ureq::Agent);

impl Client {
    fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(REQUEST))
            .http_status_as_error(false)
            .build();
        Self(config.new_agent())
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (parts, body) = request.into_parts();
        let (parts, mut body) = self.0.run(Request::from_parts(parts, &body[..]))?.into_parts();
        Ok(Response::from_parts(parts, body.read_to_vec()?.into()))
    }
}
