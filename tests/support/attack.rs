//! An attack on an admin port: thousands of connections on one thread, each a nuisance of its kind, and
//! made anew when it ends. The benches include this file too.
#![allow(dead_code, reason = "each binary uses a part")]

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// What a connection does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Nuisance {
    /// Sends nothing.
    Silent,
    /// Sends a byte of its head now and then.
    SlowHead,
    /// Sends half of its head and closes its side.
    HalfClosed,
    /// Sends no HTTP.
    Garbage,
    /// Sends a head without an end, as fast as it is taken.
    HugeHead,
    /// Sends hundreds of requests at once.
    Pipeline,
    /// Greets in HTTP/2.
    Http2,
    /// Sends a request every three seconds.
    KeepAlive,
    /// Asks for the page of metrics and does not read it.
    Deaf,
}

const REQUEST: &[u8] = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// So long a deaf client stays.
const DEAF: Duration = Duration::from_secs(5);

impl Nuisance {
    pub(crate) const ALL: [Self; 9] = [
        Self::Silent,
        Self::SlowHead,
        Self::HalfClosed,
        Self::Garbage,
        Self::HugeHead,
        Self::Pipeline,
        Self::Http2,
        Self::KeepAlive,
        Self::Deaf,
    ];

    /// Goes on until the server ends it.
    async fn make(self, mut stream: TcpStream) -> io::Result<()> {
        match self {
            Self::Silent => {}
            Self::SlowHead => {
                stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: ").await?;
                while timeout(Duration::from_millis(500), stream.read_u8()).await.is_err() {
                    stream.write_all(b"x").await?;
                }
            }
            Self::HalfClosed => {
                stream.write_all(b"GET /livez HTT").await?;
                stream.shutdown().await?;
            }
            Self::Garbage => stream.write_all(&[0x16, 3, 1, 0, 0xff].repeat(1000)).await?,
            Self::HugeHead => {
                stream.write_all(b"GET /livez HTTP/1.1\r\nX-Huge: ").await?;
                for _ in 0..100 {
                    stream.write_all(&[b'x'; 16 * 1024]).await?;
                }
            }
            Self::Pipeline => stream.write_all(&REQUEST.repeat(500)).await?,
            Self::Http2 => {
                stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
                stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await?;
            }
            Self::KeepAlive => loop {
                stream.write_all(REQUEST).await?;
                if stream.read(&mut [0; 4096]).await? == 0 {
                    return Ok(());
                }
                sleep(Duration::from_secs(3)).await;
            },
            Self::Deaf => {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await?;
                sleep(DEAF).await;
                return Ok(());
            }
        }
        while stream.read(&mut [0; 4096]).await? > 0 {}
        Ok(())
    }
}

/// What to attack, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attack<'a> {
    pub(crate) admin: SocketAddr,
    /// In turn.
    pub(crate) kinds: &'a [Nuisance],
    pub(crate) connections: usize,
    /// Before a connection is made anew.
    pub(crate) pause: Duration,
}

impl Attack<'_> {
    /// Attacks until it is dropped. Counts the connections that were made.
    pub(crate) async fn run(self, opened: &Arc<AtomicUsize>) {
        let mut all = tokio::task::JoinSet::new();
        let Self { admin, connections, pause, .. } = self;
        for (number, kind) in self.kinds.iter().copied().cycle().take(connections).enumerate() {
            let opened = Arc::clone(opened);
            all.spawn(async move {
                // Not all of them in the same moment of each pause.
                sleep(pause.mul_f64(number as f64 / connections as f64)).await;
                loop {
                    if let Ok(stream) = TcpStream::connect(admin).await {
                        opened.fetch_add(1, Relaxed);
                        // It ends as it ends: that is the server's to decide.
                        let _ended = kind.make(stream).await;
                    }
                    sleep(pause).await;
                }
            });
        }
        while all.join_next().await.is_some() {}
    }

    /// The same on the calling thread, for so long.
    pub(crate) fn run_for(self, time: Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let opened = Arc::default();
        let attack = async { timeout(time, self.run(&opened)).await };
        let _time_is_over = runtime.expect("a runtime").block_on(attack);
    }
}

/// A command for that program with as many open files as the system allows.
pub(crate) fn with_many_files(program: &std::path::Path) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n \"$(ulimit -Hn)\" && exec \"$@\"", "sh"]).arg(program);
    command
}

/// How long an honest client waits for `/livez`, from before it connects.
pub(crate) fn probe(admin: SocketAddr, limit: Duration) -> io::Result<Duration> {
    let begin = Instant::now();
    let mut stream = std::net::TcpStream::connect_timeout(&admin, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200") {
        true => Ok(begin.elapsed()),
        false => Err(io::Error::other(answer)),
    }
}
