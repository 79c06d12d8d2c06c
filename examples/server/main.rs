//! An axum service with a handler for each way to block, watched by tower-stall.
//!
//! ```text
//! cargo run --release --example server
//! ```
//!
//! It prints the `curl` lines to try. After `curl 'http://127.0.0.1:3000/blocking?ms=1000'` you
//! see a warning about `GET /blocking` while it still sleeps, and its end in a second line;
//! `curl http://127.0.0.1:9099/metrics` answers meanwhile. See `--help` for the flags.

mod routes;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use clap::{Parser, ValueEnum};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;
use tower_http::timeout::TimeoutLayer;
use tower_http::trace::TraceLayer;
use tower_stall::StallDetector;

type Error = Box<dyn std::error::Error>;

/// How long a request may take, as far as awaiting goes: nothing can interrupt a blocked thread.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a shutdown waits for requests under way.
const GRACE: Duration = Duration::from_secs(3);
const FILE_SIZE: usize = 8 << 20;

/// An axum service with a handler for each way to block, watched by tower-stall.
#[derive(Parser)]
struct Args {
    /// Where the service listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    addr: SocketAddr,
    /// Where the detector serves /metrics, /livez, /readyz and /stalls; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9099")]
    admin: SocketAddr,
    #[arg(long, value_enum, default_value = "multi-thread")]
    runtime: Flavor,
    /// Workers of the multi-thread runtime; as many as there are CPUs unless set.
    #[arg(long)]
    workers: Option<usize>,
    /// A poll that takes longer is a stall.
    #[arg(long, default_value_t = 100)]
    threshold_ms: u64,
    /// After SIGTERM, how long `/readyz` says no before connections are refused.
    #[arg(long, default_value_t = 5000)]
    drain_ms: u64,
    /// Run the same service without detector and layer, to compare.
    #[arg(long)]
    no_layer: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Flavor {
    CurrentThread,
    MultiThread,
}

fn main() -> ExitCode {
    match serve(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &Args) -> Result<(), Error> {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env()?;
    let ansi = std::io::stdout().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).init();

    let runtime = build_runtime(args)?;
    let inside = runtime.enter();
    let stall = if args.no_layer { None } else { Some(start_detector(args)?) };
    drop(inside);

    let file = BigFile::write()?;
    let mut app = routes::router(&file.0)
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIMEOUT))
        .layer(TraceLayer::new_for_http());
    if let Some(stall) = &stall {
        // Last, so that it is around the other layers; on the Router, so that it sees the route.
        app = app.layer(stall.layer());
    }
    let listener = runtime
        .block_on(tokio::net::TcpListener::bind(args.addr))
        .map_err(|error| format!("cannot listen on {}: {error}", args.addr))?;
    print_what_to_try(listener.local_addr()?, stall.as_ref().and_then(StallDetector::admin_addr));

    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async { drop(stopped.await) };
    let service = thread::spawn(move || {
        let served = runtime
            .block_on(async { axum::serve(listener, app).with_graceful_shutdown(stopped).await });
        runtime.shutdown_background();
        served
    });
    // A clone of the handle goes into the future that waits for the signal; this one stays until the
    // service has ended. The future runs on a runtime of its own: a signal gets through even if every
    // worker of the service is blocked.
    let told_to_end = told_to_end(stall.clone(), Duration::from_millis(args.drain_ms));
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        tokio::select! {
            told = told_to_end => told,
            () = is_finished(&service) => Ok(()),
        }
    })?;
    // No new connections: what is under way is answered, and watched.
    drop(stop);
    let ended = wait_for_end(service);
    // The last clone: the admin port closes, and the last lines of the log are written.
    drop(stall);
    ended
}

fn build_runtime(args: &Args) -> std::io::Result<Runtime> {
    let mut builder = match args.runtime {
        Flavor::CurrentThread => Builder::new_current_thread(),
        Flavor::MultiThread => Builder::new_multi_thread(),
    };
    if let Some(workers) = args.workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().build()
}

fn start_detector(args: &Args) -> Result<StallDetector, tower_stall::BuildError> {
    StallDetector::builder()
        .threshold(Duration::from_millis(args.threshold_ms))
        .admin(args.admin)
        .start()
}

/// Waits for Ctrl-C, or for SIGTERM and a drain.
///
/// Whoever sends SIGTERM still sends requests until it has heard that this process is not ready, and
/// `drain` is how long that takes. A second signal does not wait.
async fn told_to_end(stall: Option<StallDetector>, drain: Duration) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => return interrupted,
            _ = terminate.recv() => {}
        }
        if let Some(stall) = &stall {
            stall.drain();
        }
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
            () = tokio::time::sleep(drain) => Ok(()),
        }
    }
    #[cfg(not(unix))]
    {
        drop((stall, drain));
        tokio::signal::ctrl_c().await
    }
}

async fn is_finished<T>(service: &thread::JoinHandle<T>) {
    while !service.is_finished() {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// A handler that blocks for ever cannot be waited for: it ends with the process.
fn wait_for_end(service: thread::JoinHandle<std::io::Result<()>>) -> Result<(), Error> {
    let start = Instant::now();
    while !service.is_finished() {
        if start.elapsed() > GRACE {
            // Not on this thread: whoever reads the log may be stuck too.
            thread::spawn(|| tracing::warn!("requests are still under way: leaving them behind"));
            thread::sleep(Duration::from_millis(100));
            return Ok(());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(service.join().map_err(|_| "the service panicked")??)
}

fn print_what_to_try(service: SocketAddr, admin: Option<SocketAddr>) {
    println!("listening on http://{service}");
    if let Some(admin) = admin {
        println!("admin on http://{admin}");
        println!("try, and watch this log:");
        println!(
            "  curl 'http://{service}/blocking?ms=1000'    # one stall: a warning, then its end"
        );
        println!("  curl 'http://{service}/blocking?ms=5000' &  # then, while it blocks:");
        println!("  curl -s http://{admin}/metrics | grep tokio_");
        println!("  curl http://{admin}/livez http://{admin}/readyz");
        println!("  in a browser: http://{admin}/stalls and http://{admin}/flamegraph.svg");
        println!(
            "stalls too: /cpu /lock /tcp /process /stream /file (if slow), all but the last with ?ms="
        );
        println!(
            "does not:   /hello /users/7 /async?ms=1000 /spawn-blocking?ms=1000 /block-in-place?ms=1000"
        );
        println!("not named:  /background?ms=1000 (a plain task: a stall of handler unattributed)");
    }
}

/// The file that `/file` reads; removed at the end.
struct BigFile(PathBuf);

impl BigFile {
    fn write() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("tower-stall-{}.bin", std::process::id()));
        std::fs::write(&path, vec![b'x'; FILE_SIZE])?;
        Ok(Self(path))
    }
}

impl Drop for BigFile {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}
