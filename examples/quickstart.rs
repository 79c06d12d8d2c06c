//! The quick start of the README.
//!
//! Run `cargo run --release --example quickstart`, then `curl http://127.0.0.1:3000/hello`: a
//! warning names `GET /hello` while it still blocks, then its end is logged.

use std::io::IsTerminal;
use std::time::Duration;

async fn hello() -> &'static str {
    std::thread::sleep(Duration::from_secs(1)); // blocks the worker: tokio::time::sleep would not
    "hello\n"
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let colours = std::io::stdout().is_terminal(); // none in files, which are searched for fields
    tracing_subscriber::fmt().with_ansi(colours).init();
    let stall = tower_stall::StallDetector::builder()
        .admin(([127, 0, 0, 1], 9099)) // /metrics, /livez, /readyz, /stalls, on its own thread
        .start()?; // watches the runtime it is called in
    let app = axum::Router::new().route("/hello", axum::routing::get(hello)).layer(stall.layer());
    axum::serve(tokio::net::TcpListener::bind("127.0.0.1:3000").await?, app).await?;
    Ok(())
}
