//! gRPC health on its own thread: what a `grpc` probe sees while the service is frozen, by
//! Python's client.

use std::path::Path;
use std::process::Command;

use echo::v1::Ask;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::needs::skip;
use super::python::python;
use super::support::{FOREVER, Server, wait_for};

const FLAGS: &[&str] = &["--runtime", "current-thread", "--health", "127.0.0.1:0"];
const WELL: [&str; 4] =
    ["liveness=SERVING", "readiness=SERVING", "echo.v1.Echo=SERVING", "=SERVING"];
const UNREADY: [&str; 4] =
    ["liveness=SERVING", "readiness=NOT_SERVING", "echo.v1.Echo=NOT_SERVING", "=NOT_SERVING"];
const DEAD: [&str; 2] = ["liveness=NOT_SERVING", "readiness=NOT_SERVING"];

const MISSING: &str = "Python has no grpcio in target/venv (scripts/install-tools)";

fn is_there() -> bool {
    let modules = ["-c", "import grpc, grpc_health.v1"];
    let there = Command::new(python()).args(modules).output();
    there.is_ok_and(|ran| ran.status.success())
}

/// Waits until health says so.
async fn says(server: &Server, wanted: &[&'static str]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/health.py");
    let address = server.health.clone().expect("it serves health");
    let wanted = wanted.to_vec();
    let run = move || Command::new(python()).arg(script).arg(address).args(wanted).output();
    let output = tokio::task::spawn_blocking(run).await.expect("no panic").expect("python runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

/// Blocks the one thread of the service until it is killed.
fn block(server: &Server) {
    let mut client = server.client();
    let block = Ask { block_ms: FOREVER, ..Ask::default() };
    tokio::spawn(async move { client.unary(block).await });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_while_the_service_is_frozen() {
    if !is_there() {
        return skip(MISSING);
    }
    let server = Server::start(FLAGS).await;
    says(&server, &WELL).await;
    block(&server);
    says(&server, &UNREADY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_is_dead_says_so() {
    if !is_there() {
        return skip(MISSING);
    }
    let server = Server::start_with(FLAGS, &[("TOWER_STALL_DEAD_AFTER", "2s")]).await;
    says(&server, &WELL).await;
    block(&server);
    says(&server, &DEAD).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_ends_is_alive_and_not_ready() {
    let server = Server::start(FLAGS).await;
    let address = format!("http://{}", server.health.as_ref().expect("it serves health"));
    let endpoint = Channel::from_shared(address).expect("an address");
    let health = HealthClient::new(endpoint.connect().await.expect("a connection"));
    let status = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = health.clone().check(request).await.expect("an answer");
        answer.into_inner().status()
    };
    let is = async |service, wanted| (status(service).await == wanted).then_some(());
    wait_for(async || is("readiness", ServingStatus::Serving).await).await;
    // A call under way holds the end up for some seconds.
    let mut client = server.client();
    let wait = Ask { wait_ms: FOREVER, ..Ask::default() };
    tokio::spawn(async move { client.unary(wait).await });
    wait_for(async || (server.figures().await.open == 1).then_some(())).await;
    server.signal("TERM");
    wait_for(async || is("readiness", ServingStatus::NotServing).await).await;
    assert_eq!(status("liveness").await, ServingStatus::Serving);
}
