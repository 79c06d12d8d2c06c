//! A service that turns requests away while its runtime is frozen, or does not, to compare.
//!
//! ```text
//! cargo run --release --example shed
//! ```
//!
//! One thread serves all: `/work` computes for two milliseconds, `/report` blocks for a second.
//! During a report requests pile up. Without the layer each of them is answered afterwards, late,
//! and so are those behind them; with it they are refused at once and what comes next is on time.
//! `scripts/bench-shed` measures that with wrk.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Query;
use axum::routing::get;
use clap::Parser;
use tower_stall::StallDetector;

/// A service that turns requests away while its runtime is frozen.
#[derive(Parser)]
struct Args {
    /// Where the service listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    addr: SocketAddr,
    /// Where the detector serves /metrics, /livez and /readyz; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9099")]
    admin: SocketAddr,
    /// Answer all requests, however late.
    #[arg(long)]
    no_shed: bool,
}

async fn work() -> String {
    let (start, mut rounds) = (Instant::now(), 0_u64);
    while start.elapsed() < Duration::from_millis(2) {
        rounds = std::hint::black_box(rounds + 1);
    }
    format!("{rounds} rounds\n")
}

async fn report(Query(query): Query<HashMap<String, u64>>) -> &'static str {
    let ms = query.get("ms").copied().unwrap_or(1000);
    std::thread::sleep(Duration::from_millis(ms));
    "a report that should have been made by spawn_blocking\n"
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    tracing_subscriber::fmt().init();
    let stall = StallDetector::builder().admin(args.admin).start()?;
    let mut app =
        Router::new().route("/work", get(work)).route("/report", get(report)).layer(stall.layer());
    if !args.no_shed {
        app = app.layer(stall.shed_layer());
    }
    let listener = tokio::net::TcpListener::bind(args.addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    if let Some(admin) = stall.admin_addr() {
        println!("admin on http://{admin}");
    }
    axum::serve(listener, app).await?;
    Ok(())
}
