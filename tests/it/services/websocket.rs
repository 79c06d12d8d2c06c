//! WebSockets: the upgrade, messages both ways, both ends closing, and a connection that blocks.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::{CloseFrame, Message as Own, WebSocket, WebSocketUpgrade};
use axum::routing::any;
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tower_stall::WatchExt;

use super::both::{Both, Trap};
use crate::support::LIMIT;

/// Sends back what comes, and closes when told to.
async fn echo(mut socket: WebSocket, trap: Trap) {
    while let Some(Ok(message)) = socket.recv().await {
        let text = message.to_text().unwrap_or_default();
        match text {
            "block" => trap.spring(),
            "close" => {
                let frame = CloseFrame { code: 4000, reason: "as you say".into() };
                let _ = socket.send(Own::Close(Some(frame))).await;
                continue;
            }
            "sleep" => sleeps_in_one_piece(),
            _ => {}
        }
        if matches!(message, Own::Text(_) | Own::Binary(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}

#[inline(never)]
fn sleeps_in_one_piece() {
    std::thread::sleep(std::time::Duration::from_secs(1));
}

/// Both with an echo at `/socket`; the one with the layer names the connections if told to.
fn serve(is_watched: bool) -> Both {
    Both::served(|rig, place, trap| {
        let stall = (is_watched && place.0.is_some()).then(|| Arc::clone(&rig.stall));
        let trap = trap.clone();
        let handler = async move |upgrade: WebSocketUpgrade| {
            upgrade.protocols(["shop"]).on_upgrade(async move |socket| match stall {
                Some(stall) => echo(socket, trap).watched_by(&stall, "socket").await,
                None => echo(socket, trap).await,
            })
        };
        rig.serve(place.on(Router::new().route("/socket", any(handler))))
    })
}

/// A connection, and the headers of its upgrade.
async fn connect(address: SocketAddr) -> (WebSocketStream<TcpStream>, String) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let mut request = format!("ws://{address}/socket").into_client_request().expect("a request");
    let headers = request.headers_mut();
    // Always the same, since the answer depends on it.
    headers.insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().expect("a header"));
    headers.insert("sec-websocket-protocol", "other, shop".parse().expect("a header"));
    let upgrade = tokio_tungstenite::client_async(request, stream).await;
    let (socket, mut response) = upgrade.expect("an upgrade");
    response.headers_mut().remove("date");
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["sec-websocket-protocol"], "shop");
    (socket, format!("{response:?}"))
}

/// All that a client gets to see.
async fn talk(address: SocketAddr) -> (String, Vec<Message>, String) {
    let (mut socket, upgrade) = connect(address).await;
    let much: Vec<u8> = (0..3_u32 << 20).map(|at| (at ^ (at >> 9)) as u8).collect();
    let messages = [
        Message::text("text"),
        Message::text(""),
        Message::Ping("ping".into()),
        Message::binary(much),
        Message::binary(""),
    ];
    let mut seen = Vec::new();
    for message in messages {
        socket.send(message).await.expect("it is open");
        seen.push(socket.next().await.expect("an answer").expect("a message"));
    }
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame {
        code: CloseCode::Normal,
        reason: "enough".into(),
    };
    socket.close(Some(frame)).await.expect("it is open");
    while let Some(message) = socket.next().await {
        seen.push(message.expect("a message"));
    }
    // Again, and the server closes.
    let (mut socket, _) = connect(address).await;
    socket.send(Message::text("close")).await.expect("it is open");
    while let Some(message) = socket.next().await {
        seen.push(message.expect("a message"));
    }
    let late = socket.send(Message::text("late")).await.expect_err("it is closed");
    (upgrade, seen, format!("{late:?}"))
}

#[test]
fn what_is_said_is_the_same() {
    let both = serve(false);
    let [bare, layered] = [both.bare, both.layered].map(|address| {
        both.clients.block_on(async { tokio::time::timeout(LIMIT, talk(address)).await })
    });
    let (bare, layered) = (bare.expect("in time"), layered.expect("in time"));
    assert!(bare == layered, "{bare:?}\n{layered:?}");
    let closes: Vec<_> = layered.1.iter().filter(|message| message.is_close()).collect();
    assert_eq!((layered.1.len(), closes.len()), (7, 2), "{closes:?}");
    assert!(closes[1].to_string().contains("as you say"), "{closes:?}");
    // Without the headers it wants, and by HTTP/2, the upgrade is refused.
    both.answers(&super::both::get("/socket"), 405);
}

/// Sends the text on a new connection and waits for its echo.
fn say(both: &Both, text: &'static str) {
    both.clients.block_on(async {
        let (mut socket, _) = connect(both.layered).await;
        socket.send(Message::text(text)).await.expect("it is open");
        let echo = socket.next().await.expect("an answer").expect("a message");
        assert_eq!(echo, Message::text(text));
    });
}

#[test]
fn a_connection_that_is_named_and_blocks_is_found_by_its_name() {
    let both = serve(true);
    both.finds_while("socket", || say(&both, "block"));
    assert_eq!(both.rig.long_stalls()[0].requests_in_flight, 0, "the request is over");
}

/// The request is over with the upgrade, so its handler is not to blame; the task that axum has
/// made for the connection has no name.
#[test]
#[cfg(feature = "capture")]
fn one_that_is_not_is_a_plain_task_with_its_line() {
    use crate::support::wait_for;

    let both = serve(false);
    let stall = wait_for(4 * LIMIT, || {
        // Which threads run the workers is learned meanwhile.
        say(&both, "sleep");
        both.rig.long_stalls().into_iter().next()
    });
    assert_eq!((&*stall.handler, stall.cause), ("unattributed", tower_stall::Cause::Sleep));
    let site = stall.site.expect("a site");
    assert_eq!(site.function, "it::services::websocket::sleeps_in_one_piece");
}
