//! gRPC health by what the detector says, for Kubernetes' `grpc` probes: on a thread, a runtime and a
//! port of its own, so that it answers while every worker of the service is blocked.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use tokio::runtime::Builder;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower_stall::StallDetector;

use super::Error;

/// How old an answer may be.
const EVERY: Duration = Duration::from_millis(100);
/// What a liveness probe names as its `service`: no longer serving if only a restart helps.
const LIVENESS: &str = "liveness";
/// What a readiness probe names: serving while calls are answered. The name of the service and no
/// name mean this too.
const READINESS: [&str; 3] = ["readiness", "echo.v1.Echo", ""];

/// Serves health until the detector is dropped; returns where.
pub(crate) fn serve(stall: &Arc<StallDetector>, address: SocketAddr) -> Result<SocketAddr, Error> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let inside = runtime.enter();
    let incoming = TcpIncoming::bind(address)
        .map_err(|error| format!("cannot listen on {address}: {error}"))?
        .with_nodelay(Some(true));
    drop(inside);
    let address = incoming.local_addr()?;
    let stall = Arc::downgrade(stall);
    let thread = thread::Builder::new().name("health".into());
    thread.spawn(move || {
        let (reporter, service) = tonic_health::server::health_reporter();
        let server = Server::builder().add_service(service);
        let ended = report(stall, reporter);
        let served = runtime.block_on(server.serve_with_incoming_shutdown(incoming, ended));
        if let Err(error) = served {
            tracing::error!(%error, "gRPC health has ended");
        }
    })?;
    Ok(address)
}

/// Tells what the detector says, again and again, until it is gone.
async fn report(stall: Weak<StallDetector>, reporter: HealthReporter) {
    while let Some(stall) = stall.upgrade() {
        let health = stall.health();
        drop(stall);
        reporter.set_service_status(LIVENESS, status(health.is_live())).await;
        for name in READINESS {
            reporter.set_service_status(name, status(health.is_ready())).await;
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn status(is_well: bool) -> ServingStatus {
    if is_well { ServingStatus::Serving } else { ServingStatus::NotServing }
}
