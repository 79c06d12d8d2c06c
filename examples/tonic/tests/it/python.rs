//! Python's gRPC as the client: another implementation sees the same with the layer and without.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::needs::skip;
use super::support::{Server, WITHOUT, WORKERS};

/// Of `scripts/install-tools`, or named by `STALL_VENV`.
pub(super) fn python() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/venv");
    let venv = std::env::var_os("STALL_VENV").map_or_else(own, PathBuf::from);
    venv.join("bin/python")
}

/// What the script sees.
async fn see(server: &Server) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client.py");
    let address = server.url.trim_start_matches("http://").to_owned();
    let run = move || Command::new(python()).arg(script).arg(address).output();
    let output = tokio::task::spawn_blocking(run).await.expect("no panic").expect("python runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpcio_sees_no_difference() {
    let modules = ["-c", "import grpc, grpc_health.v1, grpc_reflection.v1alpha"];
    if !Command::new(python()).args(modules).output().is_ok_and(|ran| ran.status.success()) {
        return skip("Python has no grpcio in target/venv (scripts/install-tools)");
    }
    let (with, without) = (Server::start(WORKERS).await, Server::start(WITHOUT).await);
    let expected = see(&without).await;
    assert!(expected.lines().count() > 20, "{expected}");
    assert_eq!(see(&with).await, expected);
    with.stall().await;
    assert_eq!(see(&with).await, expected, "in a stall");
    assert_eq!(with.figures().await.blocking, 1, "it still blocks");
    without.stall().await;
    assert_eq!(see(&without).await, expected, "in a stall, without the layer");
}
