//! A detector with its page, and ways to give it stalls.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tower_stall::StallDetector;

/// For what must happen.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    // Dropped first.
    stall: StallDetector,
    runtime: Runtime,
    pub(crate) admin: SocketAddr,
}

/// A worker is blocked until this ends.
#[must_use]
pub(crate) struct Block {
    over: Arc<AtomicBool>,
    task: Option<JoinHandle<()>>,
}

impl Scene {
    pub(crate) fn new(workers: usize) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(workers).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let builder = StallDetector::builder().threshold(Duration::from_millis(50));
        let builder = builder.admin((Ipv4Addr::LOCALHOST, 0));
        let stall = runtime.block_on(async { builder.start() }).expect("a detector");
        let admin = stall.admin_addr().expect("an admin server");
        Self { stall, runtime, admin }
    }

    /// Status and text of a page.
    pub(crate) fn fetch(&self, path: &str) -> (u16, String) {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent: ureq::Agent = config.timeout_global(Some(LIMIT)).build().into();
        let mut answer =
            agent.get(format!("http://{}{path}", self.admin)).call().expect("an answer");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"))
    }

    pub(crate) fn document(&self) -> Value {
        serde_json::from_str(&self.fetch("/stalls.json").1).expect("JSON")
    }

    /// Blocks a worker; returns once the page has it with its site.
    pub(crate) fn block(&self, handler: &str) -> Block {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let task = self.runtime.spawn(self.stall.watched(handler, async move {
            while !ended.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(20));
            }
        }));
        wait_until(LIMIT, || {
            let stalls = self.stall.stalls();
            stalls.iter().any(|stall| {
                let is_known = !stall.is_stack_pending();
                stall.handler == handler && stall.in_progress && is_known
            })
        });
        Block { over, task: Some(task) }
    }

    /// Blocks a worker in a sleep, and then in a channel; returns once the page has both.
    pub(crate) fn block_twice(&self, handler: &str) -> Block {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let task = self.runtime.spawn(self.stall.watched(handler, async move {
            thread::sleep(Duration::from_millis(300));
            let (_sender, receiver) = std::sync::mpsc::channel::<()>();
            while !ended.load(Ordering::Acquire) {
                // Nobody sends: it waits.
                let _ = receiver.recv_timeout(Duration::from_millis(20));
            }
        }));
        wait_until(LIMIT, || {
            let stalls = self.stall.stalls();
            stalls.iter().any(|stall| stall.handler == handler && !stall.later.is_empty())
        });
        Block { over, task: Some(task) }
    }

    /// A worker is in one short poll after another until this ends: none is a stall.
    pub(crate) fn busy(&self, handler: &str) -> Block {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let task = self.runtime.spawn(self.stall.watched(handler, async move {
            while !ended.load(Ordering::Acquire) {
                thread::sleep(Duration::from_millis(20));
                tokio::task::yield_now().await;
            }
        }));
        Block { over, task: Some(task) }
    }

    /// Ends a block; returns once the page has that.
    pub(crate) fn end(&self, mut block: Block) {
        block.over.store(true, Ordering::Release);
        self.runtime.block_on(block.task.take().expect("it ends once")).expect("no panic");
        wait_until(LIMIT, || self.stall.stalls().iter().all(|stall| !stall.in_progress));
    }

    /// So many stalls that are over.
    pub(crate) fn fill(&self, count: usize) {
        let full = |scene: &Self| scene.stall.stalls().len() >= count;
        wait_until(4 * LIMIT, || {
            let tasks: Vec<_> = (0..40)
                .map(|number| {
                    let sleep = async { thread::sleep(Duration::from_millis(90)) };
                    self.runtime
                        .spawn(self.stall.watched(&format!("handler {}", number % 10), sleep))
                })
                .collect();
            for task in tasks {
                self.runtime.block_on(task).expect("no panic");
            }
            full(self)
        });
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}

/// Waits until `condition` holds; panics when `limit` is over.
#[track_caller]
pub(crate) fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < limit, "did not happen within {limit:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
