//! Requests that do no harm, and clients and handlers that misbehave.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use fastrand::Rng;

use crate::world::{LIMIT, World, count};

/// An HTTP client for plain threads. Answers of every status are answers.
pub(crate) fn client() -> ureq::Agent {
    let config = ureq::Agent::config_builder();
    config.http_status_as_error(false).timeout_global(Some(LIMIT)).build().into()
}

/// Sends requests until the end, some fifty a second, over one connection.
pub(crate) fn run(world: &World, address: SocketAddr, mut rng: Rng) {
    let client = client();
    while world.stop.sleep(Duration::from_millis(rng.u64(5..25))) {
        let path = match rng.u32(..20) {
            0 => "/spawn-blocking".to_owned(),
            1..3 => "/stream".to_owned(),
            3..6 => "/async".to_owned(),
            6..10 => format!("/users/{}", rng.u32(..)),
            _ => "/hello".to_owned(),
        };
        count(&world.counts.requests);
        let answer = client.get(format!("http://{address}{path}")).call();
        let read = answer.and_then(|mut answer| {
            let status = answer.status();
            answer.body_mut().read_to_string().map(|body| (status.as_u16(), body))
        });
        match read {
            Ok((200, _)) => {}
            // Nobody answers at the end.
            _ if world.stop.is_set() => {}
            other => {
                if world.counts.failed_requests.fetch_add(1, Relaxed) < 20 {
                    world.complain(format!("a request of {path} failed: {other:?}"));
                }
            }
        }
    }
}

/// Handlers and tasks that panic, and clients that go away.
pub(crate) fn trouble(world: &World, mut rng: Rng) {
    while world.stop.sleep(Duration::from_millis(rng.u64(100..400))) {
        let address = world.addresses[rng.usize(..2)];
        let kind = rng.u32(..6);
        let done = match kind {
            0 => ask(address, "GET /panic HTTP/1.1\r\nhost: soak\r\n\r\n", usize::MAX),
            1 => ask(
                address,
                "GET /panic-task HTTP/1.1\r\nhost: soak\r\nconnection: close\r\n\r\n",
                usize::MAX,
            ),
            // Before the answer, in the middle of it, in the middle of the request, before it.
            2 => ask(address, "GET /async HTTP/1.1\r\nhost: soak\r\n\r\n", 0),
            3 => ask(address, "GET /stream HTTP/1.1\r\nhost: soak\r\n\r\n", 500),
            4 => ask(address, "GET /hello HTTP/1.1\r\nhost: so", 0),
            _ => ask(address, "", 0),
        };
        if kind < 2 {
            count(&world.counts.panics);
        } else {
            count(&world.counts.disconnects);
        }
        if let Err(error) = done
            && kind > 1
        {
            world.complain(format!("request {kind} of a client that goes away: {error}"));
        }
    }
}

/// Sends that, reads so many bytes of the answer at most, and goes away.
fn ask(address: SocketAddr, request: &str, most: usize) -> std::io::Result<()> {
    let mut server = TcpStream::connect(address)?;
    server.set_read_timeout(Some(LIMIT))?;
    server.write_all(request.as_bytes())?;
    let mut read = 0;
    let mut part = [0; 500];
    while read < most {
        match server.read(&mut part)? {
            0 => break,
            length => read += length,
        }
    }
    Ok(())
}
