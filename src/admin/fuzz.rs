//! For the fuzzer: the bytes of requests, into the server as it is behind its listener.

use std::io;
use std::net::Ipv4Addr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use tokio::net::UnixStream;
use tokio::runtime::Runtime;

use super::guard::Local;
use super::page::{Pages, router};
use super::places::Places;
use super::server::connection;
use crate::health::{HealthState, Readiness};
use crate::runtime::registry::{LIMITS, Registry};

/// Longer than each limit of the server for a client that has no more to say.
const LONGEST: Duration = Duration::from_secs(15);

struct Server {
    runtime: Runtime,
    router: Router,
    places: Places,
}

static SERVER: LazyLock<Server> = LazyLock::new(|| {
    let registry = Registry::new(LIMITS);
    let health = HealthState::new(Arc::clone(&registry), Readiness::default());
    let places = Places::new(Arc::clone(&registry));
    let render: crate::config::Render = Arc::new(|| "# a page\n".repeat(1000));
    let pages = Pages { render: Some(render), health: Arc::new(health), registry, public: false };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Server { runtime: runtime.expect("a runtime"), router: router(pages), places }
});

/// A connection that sends these bytes and then has no more to say.
///
/// # Panics
///
/// The server does not end the connection, or it answers something that it should not.
pub fn admin_requests(data: &[u8]) {
    let Server { runtime, router, places } = &*SERVER;
    let answer = runtime.block_on(async {
        let (client, server) = UnixStream::pair().expect("two sockets");
        let (place, lost) = places.take(Ipv4Addr::LOCALHOST.into());
        let local = Some(Local((Ipv4Addr::LOCALHOST, 9099).into()));
        let serves = tokio::spawn(connection(server, local, router.clone(), place, lost));
        let answer = tokio::time::timeout(LONGEST, talk(client, data)).await;
        tokio::time::timeout(LONGEST, serves).await.expect("it ends").expect("no panic");
        answer.expect("the server ends the connection")
    });
    let Some(status) = answer.strip_prefix(b"HTTP/1.") else {
        assert!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        return;
    };
    let status = String::from_utf8_lossy(status.get(2..5).expect("a status")).into_owned();
    let status: u16 = status.parse().expect("a number");
    assert!(status < 500, "{}", String::from_utf8_lossy(&answer));
}

async fn talk(client: UnixStream, mut data: &[u8]) -> Vec<u8> {
    let mut answer = Vec::new();
    let mut said_all = false;
    loop {
        if data.is_empty() && !said_all {
            said_all = true;
            shut(&client);
        }
        tokio::select! {
            biased;
            _ = client.readable() => {
                let mut chunk = [0; 4096];
                match client.try_read(&mut chunk) {
                    Ok(0) => return answer,
                    Ok(read) => answer.extend_from_slice(&chunk[..read]),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(_) => return answer,
                }
            }
            _ = client.writable(), if !data.is_empty() => {
                match client.try_write(data) {
                    Ok(written) => data = &data[written..],
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // It has heard enough.
                    Err(_) => data = &[],
                }
            }
        }
    }
}

/// There is nothing more to come.
fn shut(client: &UnixStream) {
    use std::os::fd::AsFd;

    let client = client.as_fd().try_clone_to_owned().expect("a descriptor");
    let client = std::os::unix::net::UnixStream::from(client);
    // The server may have closed it.
    drop(client.shutdown(std::net::Shutdown::Write));
}
