//! Nothing is blamed at full load, nor at rest.

use std::process::Command;
use std::time::Duration;

use super::child::{Server, is_installed};

/// Seconds a load runs for; raised for a soak by `STALL_SOAK_SECONDS`.
fn seconds() -> u64 {
    let soak = std::env::var("STALL_SOAK_SECONDS").ok();
    soak.and_then(|seconds| seconds.parse().ok()).unwrap_or(5)
}

fn nothing_is_blamed(server: &Server) {
    let page = server.metrics();
    let blamed: Vec<_> =
        page.lines().filter(|line| line.starts_with("tokio_stalls_total")).collect();
    assert!(blamed.is_empty(), "{blamed:#?}");
    assert!(server.metric("tower_stall_watchdog_scans_total", &[]) > Some(10.0));
}

#[test]
fn wrk_at_saturation_is_no_stall() {
    if !is_installed("wrk") {
        return;
    }
    for runtime in ["multi-thread", "current-thread"] {
        let server = Server::start(&["--runtime", runtime, "--workers", "2"]);
        let url = format!("{}/hello", server.url);
        let output = Command::new("wrk")
            .args(["-t1", "-c64", &format!("-d{}s", seconds()), &url])
            .output()
            .expect("wrk");
        assert!(output.status.success(), "{output:?}");
        nothing_is_blamed(&server);
        let busy = server.metric("tokio_handler_busy_seconds_total", &["GET /hello"]);
        assert!(busy.is_some(), "the layer saw the load");
    }
}

#[test]
fn a_service_at_rest_is_no_stall() {
    let server = Server::start(&[]);
    std::thread::sleep(Duration::from_secs(seconds()));
    nothing_is_blamed(&server);
    assert_eq!(server.metric("tokio_workers_saturated", &[]), Some(0.0));
    let frozen = ["cause=\"unknown\""];
    assert_eq!(server.metric("tokio_frozen_seconds_total", &frozen), Some(0.0));
}
