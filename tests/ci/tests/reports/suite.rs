//! The tests of a project. Some of them block if they are told to: another test runs them so.

use std::hint::black_box;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use axum::{BoxError, Router};
use tokio::runtime::Handle;
use tower::ServiceExt;
use tower_stall::testing::NoStalls;

/// Says to the suite that it is to block.
pub(crate) const BLOCKS: &str = "STALL_TEST_SUITE_BLOCKS";

/// Tokio by another name.
mod other {
    pub(crate) use tokio::*;
}

fn is_to_block() -> bool {
    std::env::var_os(BLOCKS).is_some()
}

pub(crate) const LINE: u64 = line!() as u64 + 5;

#[inline(never)]
fn sleeps() {
    if is_to_block() {
        std::thread::sleep(Duration::from_secs(3));
    }
    black_box(());
}

#[tower_stall::test]
async fn awaits() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

pub(crate) const TEST: u32 = line!() + 2;

#[tower_stall::test(threshold = "50ms")]
async fn blocks() {
    sleeps();
}

#[tower_stall::test(threshold = 50, flavor = "multi_thread", worker_threads = 3)]
async fn blocks_in_a_route(guard: &NoStalls) -> Result<(), BoxError> {
    assert_eq!(Handle::current().metrics().num_workers(), 3);
    let app = Router::new().route("/users/{id}", get(async || sleeps())).layer(guard.layer());
    let request = Request::get("/users/7").body(Body::empty())?;
    tokio::spawn(app.oneshot(request)).await??;
    Ok(())
}

#[tower_stall::test(flavor = "multi_thread")]
async fn blocks_on_a_worker(guard: &NoStalls) {
    let task = guard.detector().watched("import", async { sleeps() });
    tokio::spawn(task).await.expect("no panic");
}

#[tower_stall::test]
async fn blocks_and_fails() -> Result<(), Box<dyn std::error::Error>> {
    sleeps();
    if is_to_block() {
        return Err("no such luck".into());
    }
    Ok(())
}

/// Its own panic goes on, the stall is told beside it.
#[tower_stall::test]
async fn fails_too() {
    sleeps();
    assert!(!is_to_block(), "so it was");
}

#[tower_stall::test]
#[should_panic(expected = "as it should")]
async fn panics() {
    sleeps();
    panic!("as it should");
}

#[tower_stall::test(threshold = "50ms")]
#[should_panic(expected = "1 stall of 50 ms or more")]
async fn is_to_be_found() {
    sleeps();
    assert!(is_to_block(), "1 stall of 50 ms or more");
}

#[tower_stall::test]
#[cfg_attr(all(), ignore = "not today")]
async fn is_ignored() {
    panic!("it was called");
}

#[tower_stall::test(start_paused = true)]
async fn a_paused_clock_jumps() {
    let start = std::time::Instant::now();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(start.elapsed() < Duration::from_secs(3600));
}

#[tower_stall::test(crate = "self::other")]
async fn tokio_is_somewhere_else() {
    other::task::yield_now().await;
}

#[tower_stall::test]
async fn the_body_is_that_of_an_async_function() -> Result<(), Box<dyn std::error::Error>> {
    #![allow(clippy::unnecessary_wraps)]
    let number: u8 = "7".parse()?;
    if number == 0 {
        return Err("not zero".into());
    }
    Ok(())
}
