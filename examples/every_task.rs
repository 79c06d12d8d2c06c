//! Every task of a runtime, without a layer and without names.
//!
//! Run `cargo run --example every_task`: a task that nobody named sleeps in its poll for a second,
//! and a stall of the handler `unattributed` is told, with its line. Run it again with
//! `RUSTFLAGS="--cfg tokio_unstable"` before it: Tokio then tells of every poll, and the handler is
//! `task spawned at examples/every_task.rs:` and a line.

use std::time::Duration;

use tower_stall::{RuntimeBuilderExt, RuntimeHooks, StallDetector};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .stall_hooks(RuntimeHooks::new()) // the one line; hooks of your own are handed over here
        .build()?;
    runtime.block_on(async {
        let stall = StallDetector::builder().start()?;
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::spawn(async { report() }).await?;
        // The log is written by a thread of its own.
        tokio::time::sleep(Duration::from_secs(1)).await;
        for stall in stall.stalls() {
            println!(
                "{} blocked a worker for {:?}: {}",
                stall.handler, stall.duration, stall.cause
            );
        }
        Ok(())
    })
}

/// What nobody knew that it blocks.
fn report() {
    std::thread::sleep(Duration::from_secs(1));
}
