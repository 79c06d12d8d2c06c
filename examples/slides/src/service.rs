//! The service of the story, in a process of its own: a handler that blocks, one that awaits, one
//! that never ends, and a health check beside them.

use std::collections::HashMap;
use std::io::Read;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use clap::ValueEnum;
use serde::Serialize;
use tokio::net::TcpListener;
use tower_stall::StallDetector;

/// Workers of the multi-thread runtime.
pub(crate) const WORKERS: usize = 4;

/// What the service runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Flavor {
    CurrentThread,
    MultiThread,
}

impl Flavor {
    fn build(self) -> std::io::Result<tokio::runtime::Runtime> {
        let mut builder = match self {
            Self::CurrentThread => tokio::runtime::Builder::new_current_thread(),
            Self::MultiThread => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.worker_threads(WORKERS).enable_all().build()
    }
}

/// Says on the standard output where it listens and serves until SIGTERM; the log goes to the
/// standard error.
pub(crate) fn serve(flavor: Flavor) -> Result<(), crate::Error> {
    thread::spawn(end_with_parent);
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    flavor.build()?.block_on(async {
        let stall = StallDetector::builder().admin((Ipv4Addr::LOCALHOST, 0)).start()?;
        let app = Router::new()
            .route("/healthcheck", get(async || "ok\n"))
            .route("/hello", get(hello))
            .route("/async", get(waits))
            .route("/deadlock", get(deadlocks))
            .layer(stall.layer());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        println!("http://{}", listener.local_addr()?);
        println!("http://{}", stall.admin_addr().ok_or("no admin server")?);
        axum::serve(listener, app).with_graceful_shutdown(terminated()).await?;
        Ok(())
    })
}

async fn hello(Query(query): Query<HashMap<String, u64>>) -> &'static str {
    thread::sleep(time(&query)); // the mistake that all this is about
    "hello\n"
}

async fn waits(Query(query): Query<HashMap<String, u64>>) -> &'static str {
    tokio::time::sleep(time(&query)).await;
    "hello\n"
}

async fn deadlocks() -> &'static str {
    let lock = Mutex::new(());
    let _guard = lock.lock();
    let _never = lock.lock();
    "not reached\n"
}

/// `?ms=`: how long to take.
fn time(query: &HashMap<String, u64>) -> Duration {
    Duration::from_millis(query.get("ms").copied().unwrap_or(500))
}

/// As the first process of a container the service would not end by a SIGTERM it does not handle;
/// it handles it on its runtime, as most do.
async fn terminated() {
    #[cfg(unix)]
    {
        let kind = tokio::signal::unix::SignalKind::terminate();
        if let Ok(mut terminate) = tokio::signal::unix::signal(kind) {
            terminate.recv().await;
        }
    }
    #[cfg(not(unix))]
    std::future::pending::<()>().await;
}

/// The standard input ends with the process at its other end, however that ends.
fn end_with_parent() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new()); // an error: nobody is there either
    std::process::exit(1);
}
