//! What becomes a label of a stall: methods that were declared or proved themselves.

use echo::v1::Ask;
use http::uri::PathAndQuery;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;

use super::support::{Server, WORKERS, stalls};

/// More than there are labels (128).
const MADE_UP: u32 = 400;

/// Calls methods and services that there are not.
async fn make_up(server: &Server, word: &str) {
    let mut client = tonic::client::Grpc::new(server.channel.clone());
    for number in 0..MADE_UP / 2 {
        for path in [format!("/echo.v1.Echo/{word}{number}"), format!("/made.Up/{word}{number}")] {
            client.ready().await.expect("a connection");
            let path = PathAndQuery::try_from(path).expect("a path");
            let codec = ProstCodec::<Ask, Ask>::default();
            let answer = client.unary(Request::new(Ask::default()), path.clone(), codec).await;
            assert_eq!(answer.expect_err("no answer").code(), Code::Unimplemented, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn made_up_methods_take_no_labels() {
    let server = Server::start(WORKERS).await;
    make_up(&server, "Before").await;
    // Not declared, so its first call has no label, and its second has one: labels are left.
    let block = Ask { block_ms: 2000, ..Ask::default() };
    for label in ["unmatched", "/echo.v1.Echo/Figures"] {
        assert_eq!(server.stalls(label).await, 0.0);
        server.client().figures(block.clone()).await.expect("an answer");
        assert_eq!(server.stalls(label).await, 1.0, "{label}");
    }
    server.stall().await;
    make_up(&server, "Meanwhile").await;
    let page = server.metrics().await;
    for word in ["Before", "Meanwhile", "made.Up", "handler=\"other\""] {
        assert!(!page.contains(word), "{word}:\n{page}");
    }
    assert_eq!(stalls(&page, "unmatched"), 1.0);
}
