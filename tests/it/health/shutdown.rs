//! The order in which a service and its detector stop.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::sync::{Notify, oneshot};
use tower_stall::StallDetector;

use crate::support::*;

fn is_open(admin: SocketAddr) -> bool {
    TcpStream::connect(admin).is_ok()
}

#[test]
fn a_clone_drains_in_the_shutdown_future_and_the_port_closes_last() {
    let runtime = runtime(2);
    let start = async { StallDetector::builder().admin(ALONE).start() };
    let stall = runtime.block_on(start).expect("a detector");
    let admin = stall.admin_addr().expect("an admin server");
    wait_until(LIMIT, || fetch(admin, "/readyz").0 == 200);

    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, wait) = (Arc::clone(&entered), Arc::clone(&release));
    let last = async move || {
        enter.notify_one();
        wait.notified().await;
        "last"
    };
    let app = Router::new().route("/last", get(last)).layer(stall.layer());
    let bound = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a port");
    let service = bound.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let draining = stall.clone();
    let terminated = async move {
        drop(stopped.await);
        draining.drain();
    };
    let served =
        runtime.spawn(async { axum::serve(bound, app).with_graceful_shutdown(terminated).await });
    let request = std::thread::spawn(move || fetch(service, "/last"));
    runtime.block_on(entered.notified());

    drop(stop);
    wait_until(LIMIT, || !stall.health().is_ready());
    let (status, told) = fetch(admin, "/readyz");
    assert!(status == 503 && told.contains("draining"), "{status} {told}");
    assert_eq!(fetch(admin, "/livez").0, 200);
    assert!(!served.is_finished(), "the last request is under way");

    release.notify_one();
    assert_eq!(request.join().expect("no panic"), (200, "last".to_owned()));
    runtime.block_on(served).expect("no panic").expect("served");
    drop(runtime);
    assert!(is_open(admin), "the detector's threads are its own");
    assert_eq!(stall.shutdown(3 * LIMIT), Ok(()));
    assert!(!is_open(admin));
    assert_eq!(stall.shutdown(3 * LIMIT), Ok(()), "nothing is left to stop");
}

#[test]
fn the_drop_of_the_last_clone_stops_it() {
    let runtime = runtime(1);
    let start = async { StallDetector::builder().admin(ALONE).start() };
    let stall = runtime.block_on(start).expect("a detector");
    let admin = stall.admin_addr().expect("an admin server");
    let moved = stall.clone();
    drop(stall);
    assert!(is_open(admin));
    // As a shutdown future that owns the only handle.
    runtime.block_on(async move { moved.drain() });
    wait_until(LIMIT, || !is_open(admin));
}
