//! An axum service whose stalls are spans in the traces of their requests, and whose metrics go to
//! the same OpenTelemetry receiver.
//!
//! ```text
//! cargo run -p tower-stall-otel-example -- --endpoint http://127.0.0.1:4318
//! ```
//!
//! It prints the `curl` lines to try. After the one that blocks, its trace has the span of the
//! request and below it a span `stall GET /blocking (sleep)`, from when the worker was blocked to
//! when it was free, with cause, line and stack. Without a receiver it says so once and goes on.
//! See `--help` for the flags; the variables of OpenTelemetry (`OTEL_…`) hold too.

mod export;
mod requests;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use axum::extract::Query;
use axum::routing::get;
use axum::{Router, middleware};
use clap::Parser;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tower_stall::StallDetector;
use tower_stall_opentelemetry::{StallMetrics, StallSpans, trace_id};

use self::export::Telemetry;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long a shutdown waits for requests under way.
const GRACE: Duration = Duration::from_secs(3);

/// An axum service whose stalls are spans in the traces of their requests.
#[derive(Parser)]
struct Args {
    /// Where the service listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    addr: SocketAddr,
    /// The OTLP receiver (http/protobuf); `OTEL_EXPORTER_OTLP_ENDPOINT` or port 4318 here unless
    /// set.
    #[arg(long)]
    endpoint: Option<String>,
    /// Workers of the runtime; as many as there are CPUs unless set.
    #[arg(long)]
    workers: Option<usize>,
}

#[derive(serde::Deserialize)]
struct Wait {
    #[serde(default)]
    ms: u64,
}

async fn blocking(Query(wait): Query<Wait>) -> &'static str {
    thread::sleep(Duration::from_millis(wait.ms)); // blocks the worker
    "blocked\n"
}

async fn awaits(Query(wait): Query<Wait>) -> &'static str {
    tokio::time::sleep(Duration::from_millis(wait.ms)).await;
    "waited\n"
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    // What the exporters have to say of a receiver that fails is said once, in `export`.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| "info,opentelemetry-otlp=off".into());
    let ansi = std::io::stdout().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).init();

    let telemetry = Telemetry::start(args.endpoint.as_deref())?;
    StallMetrics::new(&telemetry.meters).install()?;
    metrics::describe_counter!("otlp_spans_lost_total", "Spans that the receiver did not take.");

    let runtime = build_runtime(args)?;
    let listener = runtime
        .block_on(TcpListener::bind(args.addr))
        .map_err(|error| format!("cannot listen on {}: {error}", args.addr))?;
    let stall = start_detector(&runtime, &telemetry.tracers)?;
    let signals = Signals::new()?;
    print_what_to_try(listener.local_addr()?);

    let app = router(&stall, telemetry.tracers.tracer("otel-server"));
    let (stop, stopped) = oneshot::channel::<()>();
    let (ended, end) = oneshot::channel();
    thread::spawn(move || {
        let stopped = async { drop(stopped.await) };
        let served = runtime
            .block_on(async { axum::serve(listener, app).with_graceful_shutdown(stopped).await });
        drop(ended.send(served.map_err(Error::from)));
        runtime.shutdown_background();
    });
    let served = signals.wait(end, || {
        stall.drain();
        drop(stop);
    });
    // Ends what still blocks, too: what blocks for ever ends with the process.
    drop(stall);
    telemetry.end();
    served
}

fn build_runtime(args: &Args) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if let Some(workers) = args.workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().build()
}

fn start_detector(
    runtime: &Runtime,
    tracers: &SdkTracerProvider,
) -> Result<StallDetector, tower_stall::BuildError> {
    let inside = runtime.enter();
    let stall = StallDetector::builder()
        .facade(true) // the metrics go to the recorder that is installed
        .on_stall(StallSpans::new(tracers))
        .start();
    drop(inside);
    stall
}

fn router(stall: &StallDetector, tracer: SdkTracer) -> Router {
    Router::new()
        .route("/hello", get(async || "hello\n"))
        .route("/blocking", get(blocking))
        .route("/async", get(awaits))
        .layer(stall.layer().trace_id(trace_id))
        // Around the stall layer, which takes the trace from it.
        .layer(middleware::from_fn_with_state(tracer, requests::trace))
}

/// On a runtime of their own: a signal gets through even if every worker of the service is blocked.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let inside = runtime.enter();
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        drop(inside);
        Ok(Self { runtime, terminate, interrupt })
    }

    /// Waits for a signal, tells the service to stop, and waits for its end.
    fn wait(
        mut self,
        mut end: oneshot::Receiver<Result<(), Error>>,
        stop: impl FnOnce(),
    ) -> Result<(), Error> {
        self.runtime.block_on(async {
            tokio::select! {
                ended = &mut end => return ended?,
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            stop();
            match tokio::time::timeout(GRACE, end).await {
                Ok(ended) => ended?,
                Err(_) => {
                    eprintln!("requests are still under way: leaving them behind");
                    Ok(())
                }
            }
        })
    }
}

fn print_what_to_try(service: SocketAddr) {
    println!("listening on http://{service}");
    println!("try, and look for the trace 0af7651916cd43dd8448eb211c80319c:");
    println!(
        "  curl -H 'traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01' \\\n    \
         'http://{service}/blocking?ms=1000'"
    );
    println!("  curl 'http://{service}/blocking?ms=1000'   # a trace of its own");
    println!("does not stall:");
    println!("  curl 'http://{service}/async?ms=1000'");
}
