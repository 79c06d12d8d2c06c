//! A tonic service with the four kinds of methods, health and reflection, watched by tower-stall.
//!
//! ```text
//! cargo run --release -p tower-stall-tonic-example
//! ```
//!
//! It prints the `grpcurl` lines to try. After the one that blocks you see a warning about
//! `/echo.v1.Echo/Unary` while it still sleeps, and its end in a second line;
//! `curl http://127.0.0.1:9099/metrics` answers meanwhile. See `--help` for the flags.

mod health;
mod service;

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use echo::v1::echo_server::EchoServer;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tower_stall::StallDetector;

use self::service::Service;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// How long a shutdown waits for calls under way.
const GRACE: Duration = Duration::from_secs(3);

/// Methods that have a label from their first call on. The others, here `Figures` and those of
/// health and reflection, are `unmatched` until one of their calls was answered well.
const METHODS: [&str; 4] = [
    "/echo.v1.Echo/Unary",
    "/echo.v1.Echo/ServerStream",
    "/echo.v1.Echo/ClientStream",
    "/echo.v1.Echo/Bidi",
];

/// A tonic service with the four kinds of methods, watched by tower-stall.
#[derive(Parser)]
struct Args {
    /// Where the service listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:50051")]
    addr: SocketAddr,
    /// Where the detector serves /metrics; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9099")]
    admin: SocketAddr,
    /// Where a thread of its own serves gRPC health, by what the detector says; off unless given.
    #[arg(long)]
    health: Option<SocketAddr>,
    #[arg(long, value_enum, default_value = "multi-thread")]
    runtime: Flavor,
    /// Workers of the multi-thread runtime; as many as there are CPUs unless set.
    #[arg(long)]
    workers: Option<usize>,
    /// A poll that takes longer is a stall.
    #[arg(long, default_value_t = 100)]
    threshold_ms: u64,
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
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Error> {
    let filter = tracing_subscriber::EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .from_env()?;
    let ansi = std::io::stdout().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).init();

    let runtime = build_runtime(args)?;
    let inside = runtime.enter();
    let stall = if args.no_layer { None } else { Some(Arc::new(start_detector(args)?)) };
    let incoming = TcpIncoming::bind(args.addr)
        .map_err(|error| format!("cannot listen on {}: {error}", args.addr))?
        .with_nodelay(Some(true));
    drop(inside);
    let signals = Signals::new()?;
    print_what_to_try(incoming.local_addr()?, stall.as_ref().and_then(|stall| stall.admin_addr()));
    if let (Some(stall), Some(address)) = (&stall, args.health) {
        println!("health on http://{}", health::serve(stall, address)?);
    }

    let (stop, stopped) = oneshot::channel::<()>();
    let (ended, end) = oneshot::channel();
    let layer = stall.as_ref().map(|stall| stall.layer().grpc_methods(METHODS));
    thread::spawn(move || {
        let stopped = async { drop(stopped.await) };
        let served = runtime.block_on(async {
            let routes = routes().await?;
            let mut server = Server::builder();
            match layer {
                // Before other layers, so that it is around them.
                Some(layer) => {
                    let router = server.layer(layer).add_routes(routes);
                    router.serve_with_incoming_shutdown(incoming, stopped).await?;
                }
                None => {
                    let router = server.add_routes(routes);
                    router.serve_with_incoming_shutdown(incoming, stopped).await?;
                }
            }
            Ok(())
        });
        drop(ended.send(served));
        runtime.shutdown_background();
    });
    let drain = || {
        // Whoever asks for readiness is told at once; calls under way are finished meanwhile.
        if let Some(stall) = &stall {
            stall.drain();
        }
        drop(stop);
    };
    signals.wait(end, drain)
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

async fn routes() -> Result<Routes, Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<EchoServer<Service>>().await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(echo::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let routes = Routes::new(EchoServer::new(Service::default())).add_service(health_service);
    // Older clients know the older one alone.
    Ok(routes.add_service(reflection().build_v1()?).add_service(reflection().build_v1alpha()?))
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
                // A method that blocks for ever cannot be waited for: it ends with the process.
                Err(_) => {
                    eprintln!("calls are still under way: leaving them behind");
                    Ok(())
                }
            }
        })
    }
}

fn print_what_to_try(service: SocketAddr, admin: Option<SocketAddr>) {
    println!("listening on http://{service}");
    if let Some(admin) = admin {
        let call = |ask, method| {
            println!("  grpcurl -plaintext -d '{ask}' {service} echo.v1.Echo/{method}");
        };
        println!("admin on http://{admin}");
        println!("try, and watch this log:");
        call(r#"{"block_ms": 1000}"#, "Unary");
        call(r#"{"messages": 5, "block_at": 2, "block_ms": 1000}"#, "ServerStream");
        println!("  curl -s http://{admin}/metrics | grep tokio_");
        println!("does not stall:");
        call(r#"{"wait_ms": 1000}"#, "Unary");
    }
}
