//! Each kind of method: what it answers, and what is told while it blocks.

use echo::v1::Ask;
use echo::v1::echo_client::EchoClient;
use tokio::task::JoinHandle;
use tonic::Response;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ListServiceResponse, ServerReflectionRequest};

use super::support::{LIMIT, Server, WORKERS, in_progress, numbers, stalls, sum, wait_for};

/// Long enough to be told while it lasts, however busy the machine is.
const BLOCK_MS: u32 = 3000;

const NAMES: [&str; 4] = ["Unary", "ServerStream", "ClientStream", "Bidi"];

fn asks(block_ms: u32) -> [Ask; 3] {
    ["a", "b", "c"].map(|text| {
        // A stream blocks in its second message.
        let block_ms = if text == "b" { block_ms } else { 0 };
        Ask { text: text.into(), block_ms, ..Ask::default() }
    })
}

/// Calls a method and checks its answer; it blocks once, for a stream in the middle of it.
async fn call(mut client: EchoClient<Channel>, name: &str, block_ms: u32) {
    match name {
        "Unary" => {
            let ask = Ask { text: "a".into(), block_ms, ..Ask::default() };
            assert_eq!(client.unary(ask).await.expect("an answer").into_inner().text, "a");
        }
        "ServerStream" => {
            let ask = Ask { messages: 4, block_at: 2, block_ms, ..Ask::default() };
            let answers = client.server_stream(ask).await.expect("a stream").into_inner();
            assert_eq!(numbers(answers).await, [0, 1, 2, 3]);
        }
        "ClientStream" => {
            let asks = tokio_stream::iter(asks(block_ms));
            let answer = client.client_stream(asks).await.map(Response::into_inner);
            let answer = answer.expect("an answer");
            assert_eq!((answer.text.as_str(), answer.number), ("a b c", 3));
        }
        "Bidi" => {
            let asks = tokio_stream::iter(asks(block_ms));
            let answers = client.bidi(asks).await.expect("a stream").into_inner();
            assert_eq!(numbers(answers).await, [0, 1, 2]);
        }
        _ => unreachable!("there are four"),
    }
}

/// Health and reflection answer.
async fn ask_the_others(server: &Server) {
    let service = "echo.v1.Echo".to_owned();
    let mut health = HealthClient::new(server.channel.clone());
    let check = health.check(HealthCheckRequest { service: service.clone() }).await;
    assert_eq!(check.expect("an answer").into_inner().status(), ServingStatus::Serving);

    let list = MessageRequest::ListServices(String::new());
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut reflection = ServerReflectionClient::new(server.channel.clone());
    let answers = reflection.server_reflection_info(tokio_stream::once(request)).await;
    let answer = answers.expect("a stream").into_inner().message().await.expect("no error");
    let services = answer.and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(ListServiceResponse { service: names })) =
        services
    else {
        panic!("no list of services: {services:?}")
    };
    for name in [service.as_str(), "grpc.health.v1.Health"] {
        assert!(names.iter().any(|service| service.name == name), "{name}: {names:?}");
    }
}

/// Each method, health and reflection.
async fn ask_all(server: &Server) {
    for name in NAMES {
        call(server.client(), name, 0).await;
    }
    ask_the_others(server).await;
}

fn spawn(server: &Server, name: &'static str, block_ms: u32) -> JoinHandle<()> {
    let client = server.client();
    tokio::spawn(async move { call(client, name, block_ms).await })
}

/// Waits for the stall of a method and checks that it is told before the answer.
async fn told(server: &Server, name: &'static str) {
    let handler = format!("/echo.v1.Echo/{name}");
    let blocked = spawn(server, name, BLOCK_MS);
    let page = wait_for(async || {
        let page = server.metrics().await;
        (stalls(&page, &handler) > 0.0).then_some(page)
    })
    .await;
    assert!(!blocked.is_finished(), "told while it blocks");
    assert!(in_progress(&page) > 0.05, "in progress:\n{page}");
    blocked.await.expect("the right answer");
    let page = server.metrics().await;
    assert_eq!(stalls(&page, &handler), 1.0, "one block, one stall");
    assert!(sum(&page, "tokio_stalled_seconds_total{", &handler) >= 1.0, "its time:\n{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_is_told_under_its_name_while_it_blocks() {
    let server = Server::start(WORKERS).await;
    ask_all(&server).await;
    for name in NAMES {
        told(&server, name).await;
    }
    ask_all(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_answered_while_one_blocks() {
    let server = Server::start(WORKERS).await;
    server.stall().await;
    for _ in 0..20 {
        tokio::time::timeout(LIMIT, ask_all(&server)).await.expect("answers");
    }
    let page = server.metrics().await;
    assert!(in_progress(&page) > 0.1, "answered meanwhile:\n{page}");
    assert_eq!(server.figures().await.blocking, 1, "it still blocks");
    assert_eq!(stalls(&page, "/echo.v1.Echo/Unary"), 1.0, "one block, one stall");
    for name in &NAMES[1..] {
        assert_eq!(stalls(&page, &format!("/echo.v1.Echo/{name}")), 0.0, "{name} is not blamed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_current_thread_service_tells_it_while_it_is_frozen() {
    let server = Server::start(&["--runtime", "current-thread"]).await;
    ask_all(&server).await;
    for name in NAMES {
        told(&server, name).await;
    }
    let frozen = sum(&server.metrics().await, "tokio_frozen_seconds_total{", "cause=\"sleep\"");
    assert!(frozen >= 4.0, "{frozen} s of four stalls");
    ask_all(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_and_the_blocking_pool_are_no_stalls() {
    let server = Server::start(WORKERS).await;
    for ask in [Ask { wait_ms: 1000, ..Ask::default() }, Ask { work_ms: 1000, ..Ask::default() }] {
        server.client().unary(ask.clone()).await.expect("an answer");
        let stream = server.client().server_stream(Ask { messages: 2, ..ask }).await;
        assert_eq!(numbers(stream.expect("a stream").into_inner()).await, [0, 1]);
    }
    // Later than those, and seen.
    told(&server, "Bidi").await;
    let page = server.metrics().await;
    for name in ["Unary", "ServerStream"] {
        assert_eq!(stalls(&page, &format!("/echo.v1.Echo/{name}")), 0.0, "{name} is not blamed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_on_either_signal_in_a_stall_too() {
    for (signal, stalled) in [("TERM", false), ("INT", false), ("TERM", true), ("INT", true)] {
        let mut server = Server::start(WORKERS).await;
        if stalled {
            server.stall().await;
        } else {
            ask_all(&server).await;
        }
        server.signal(signal);
        let (status, errors) = server.end().await;
        assert_eq!(status.code(), Some(0), "{signal}, stalled: {stalled}: {errors}");
        assert_eq!(errors.contains("calls are still under way"), stalled, "{signal}: {errors}");
    }
}
