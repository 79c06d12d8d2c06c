//! The admin server: a thread and a current-thread runtime of its own, so that it answers while
//! every worker of the service is blocked.
//!
//! Connections, the size of a request's head and body, and the time for each are bounded, and who opens
//! many connections loses its own. It has no TLS and no authentication: bind it to loopback, or to an
//! address that only the scraper and probes reach.

#[cfg(fuzzing)]
pub(crate) mod fuzz;
mod guard;
mod health;
mod helpers;
mod outbox;
mod page;
mod places;
#[cfg_attr(not(feature = "profile"), path = "no_profiles.rs")]
mod profiles;
mod server;
mod stalls;
mod wakes;

use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use self::places::Places;
use self::wakes::Wakes;
use crate::clock;
use crate::config::BuildError;
use crate::owned_thread::OwnedThread;
use crate::runtime::registry::Registry;
use crate::sys;
use crate::vitals::{MOST_PANICS, OwnThread};
pub(crate) use page::Pages;

const THREAD: OwnThread = OwnThread::Admin;
/// How often the recorder drains its samples. Without it, a day of ticks takes tens of megabytes.
const UPKEEP: Duration = Duration::from_secs(5);
/// Connections that wait to be accepted, as far as the system allows: what does not fit is tried again by its
/// client, after a second.
const BACKLOG: u32 = 4096;
/// Seconds in which a connection without a first byte does not even come here, on Linux. So one that comes brings
/// its request, and needs its place for no longer than the answer takes.
const DEFERRED: i32 = 5;

/// A running admin server.
#[derive(Debug)]
pub(crate) struct Admin {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: OwnedThread,
}

impl Admin {
    /// Binds `address` and serves. `upkeep` is called every five seconds.
    pub(crate) fn start(
        address: SocketAddr,
        pages: Pages,
        upkeep: impl Fn() + Send + 'static,
    ) -> Result<Self, BuildError> {
        let unusable = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BuildError::AddressInUse { address, source },
            _ => BuildError::AddressUnusable { address, source },
        };
        let runtime = OwnRuntime::new(&pages.registry).map_err(BuildError::AdminRuntime)?;
        let listener = {
            let _inside = runtime.enter();
            listen(address).map_err(unusable)?
        };
        let bound = listener.local_addr().map_err(unusable)?;
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            let vitals = Arc::clone(&pages.registry.vitals);
            let life = vitals.begin(THREAD);
            vitals.work(THREAD, || helpers::start(&runtime));
            if runtime.block_on(serve(listener, pages, upkeep, stopped)) == End::Stopped {
                life.end();
            }
        };
        let name = THREAD.as_str();
        let thread = OwnedThread::spawn(name, run)
            .map_err(|source| BuildError::Thread { name: name.into(), source })?;
        Ok(Self { address: bound, stop, thread })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn join(self, limit: Duration) -> Result<(), &'static str> {
        drop(self.stop);
        self.thread.join(limit)
    }
}

/// Why the server has ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Stopped,
    /// It has panicked too often.
    Lost,
}

/// Serves until it is stopped, and again after a panic.
async fn serve(
    listener: TcpListener,
    pages: Pages,
    upkeep: impl Fn() + Send + 'static,
    mut stopped: oneshot::Receiver<()>,
) -> End {
    let vitals = Arc::clone(&pages.registry.vitals);
    let (listener, places) = (Arc::new(listener), Places::new(Arc::clone(&pages.registry)));
    let router = page::router(pages);
    let of_upkeep = Arc::clone(&vitals);
    tokio::spawn(async move {
        loop {
            of_upkeep.expect_by(THREAD, clock::now() + clock::nanos(UPKEEP));
            tokio::time::sleep(UPKEEP).await;
            of_upkeep.work(THREAD, &upkeep);
        }
    });
    for _ in 0..MOST_PANICS {
        let accept = server::accept(Arc::clone(&listener), router.clone(), places.clone());
        let mut accepts = tokio::spawn(accept);
        let is_stopped = poll_fn(|cx| match Pin::new(&mut stopped).poll(cx) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending => Pin::new(&mut accepts).poll(cx).map(|_| false),
        });
        if is_stopped.await {
            return End::Stopped;
        }
        vitals.count_panic(THREAD);
    }
    End::Lost
}

/// The runtime of the admin thread. Its drop waits for nothing, which within another runtime would be a
/// panic: it happens there if the server cannot be started.
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn new(registry: &Arc<Registry>) -> io::Result<Self> {
        let mut builder = Builder::new_current_thread();
        helpers::keep(&mut builder, THREAD.as_str());
        let wakes = Wakes::new(Arc::clone(registry));
        builder.on_thread_park(move || wakes.pace());
        builder.enable_all().build().map(|runtime| Self(Some(runtime)))
    }
}

impl Deref for OwnRuntime {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        self.0.as_ref().expect("there until the drop")
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Binds and listens, within a runtime; an unspecified IPv6 address falls back to IPv4 where the host has
/// no IPv6.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listen = |address: SocketAddr| -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // As std does: elsewhere than on Unix it would take the port from others.
        #[cfg(unix)]
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        let listener = socket.listen(BACKLOG)?;
        sys::defer_accept(&listener, DEFERRED);
        Ok(listener)
    };
    listen(address).or_else(|error| {
        let no_ipv6 = address.is_ipv6()
            && address.ip().is_unspecified()
            && !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied);
        if no_ipv6 { listen((Ipv4Addr::UNSPECIFIED, address.port()).into()) } else { Err(error) }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    fn pages() -> Pages {
        let registry = crate::runtime::registry::Registry::new(crate::runtime::registry::LIMITS);
        let readiness = crate::health::Readiness::default();
        let health = crate::health::HealthState::new(Arc::clone(&registry), readiness);
        Pages { render: None, health: Arc::new(health), registry, public: false }
    }

    #[test]
    fn upkeep_happens_without_anybody_asking_for_the_page() {
        let (kept, keep) = channel();
        let upkeep = move || kept.send(()).expect("the test listens");
        let admin = Admin::start((Ipv4Addr::LOCALHOST, 0).into(), pages(), upkeep).expect("a port");
        assert!(keep.recv_timeout(10 * UPKEEP).is_ok());
        assert_eq!(admin.join(Duration::from_secs(30)), Ok(()));
    }

    #[test]
    fn an_address_without_a_port_left_is_in_use() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = taken.local_addr().expect("bound");
        let error = Admin::start(address, pages(), || ()).expect_err("taken");
        assert!(matches!(error, BuildError::AddressInUse { address: at, .. } if at == address));
    }
}
