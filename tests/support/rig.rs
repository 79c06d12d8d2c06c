//! A runtime with a detector, and what blocks it until that is seen.

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tower_stall::{Builder, Stall, StallDetector};

use super::{LIMIT, THRESHOLD, block_until, is_own, metric, runtime, scrape, wait_for, wait_until};

/// A [`Block`] lasts at least that long, and
const BLOCK: Duration = Duration::from_millis(400);
/// a stall that lasted that long was one of them and no noise of a busy machine.
const LONG: Duration = Duration::from_millis(300);

/// A runtime under the eyes of a detector.
pub(crate) struct Rig {
    // Dropped first.
    pub(crate) stall: Arc<StallDetector>,
    pub(crate) runtime: Runtime,
}

impl Rig {
    /// A detector with [`THRESHOLD`], an admin server and what `set` sets, on a new runtime.
    pub(crate) fn new(workers: usize, set: impl FnOnce(Builder) -> Builder) -> Self {
        let runtime = runtime(workers);
        let builder = StallDetector::builder().threshold(THRESHOLD);
        #[cfg(feature = "admin")]
        let builder = builder.admin((Ipv4Addr::LOCALHOST, 0));
        let stall = runtime.block_on(async { set(builder).start() }).expect("a detector");
        Self { stall: Arc::new(stall), runtime }
    }

    /// What blocks until it is seen under that label.
    pub(crate) fn block(&self, handler: &'static str) -> Block {
        Block { stall: Arc::clone(&self.stall), handler }
    }

    /// Runs a future as a task of the runtime, to its end.
    pub(crate) fn run<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.runtime.block_on(self.runtime.spawn(future)).expect("no panic")
    }

    /// Blocks twice, as `first` and as `second`, and waits until both are recorded and over.
    #[track_caller]
    pub(crate) fn block_twice(&self) {
        for name in ["first", "second"] {
            let block = self.block(name);
            self.run(self.stall.watched(name, async move { block.run() }));
        }
        wait_until(LIMIT, || {
            let stalls = self.long_stalls();
            stalls.len() == 2 && stalls.iter().all(|stall| !stall.in_progress)
        });
    }

    /// The stalls of [`Block`]s, newest first.
    pub(crate) fn long_stalls(&self) -> Vec<Stall> {
        let stalls = self.stall.stalls().into_iter();
        stalls.filter(|stall| stall.duration >= LONG && is_own(stall)).collect()
    }

    /// Waits for the end of the one stall of a [`Block`] and checks that it was recorded once,
    /// for that handler.
    #[track_caller]
    pub(crate) fn one_stall(&self, handler: &str) -> Stall {
        let ended = wait_for(LIMIT, || {
            let mut stalls = self.long_stalls().into_iter();
            stalls.find(|stall| stall.handler == handler && !stall.in_progress)
        });
        let all = self.long_stalls();
        assert_eq!(all.len(), 1, "one block, one record: {all:#?}");
        ended
    }

    /// Serves on a free port, in a task of the runtime.
    pub(crate) fn serve(&self, app: axum::Router) -> SocketAddr {
        let bind = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let listener = self.runtime.block_on(bind).expect("a port");
        let address = listener.local_addr().expect("an address");
        self.runtime.spawn(async move { axum::serve(listener, app).await });
        address
    }

    /// The page of metrics.
    #[track_caller]
    pub(crate) fn metrics(&self) -> String {
        scrape(self.stall.admin_addr().expect("an admin server"))
    }

    /// A metric on that page.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        metric(&self.metrics(), name, labels)
    }
}

/// Blocks its thread until the detector shows the stall, while it lasts, under the right label.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    stall: Arc<StallDetector>,
    handler: &'static str,
}

impl Block {
    pub(crate) fn run(&self) {
        let start = Instant::now();
        let is_it = |stall: &Stall| {
            stall.in_progress && stall.handler == self.handler && stall.duration >= LONG
        };
        block_until(|| self.stall.stalls().iter().any(is_it));
        std::thread::sleep(BLOCK.saturating_sub(start.elapsed()));
    }
}
