//! A runtime of some shape, driven by a thread of its own.

use std::pin::Pin;
use std::sync::{Arc, Barrier};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;
use tower_stall::{RuntimeBuilderExt, RuntimeHooks, StallDetector};

use crate::support::THRESHOLD;

pub(crate) type Future = Pin<Box<dyn std::future::Future<Output = ()> + Send>>;

/// What a runtime is to run, and where to say that it is done.
type Job = (Future, oneshot::Sender<()>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    CurrentThread,
    MultiThread(usize),
    /// On a current-thread runtime.
    LocalSet,
    LocalRuntime,
}

impl Shape {
    pub(crate) fn workers(self) -> usize {
        if let Self::MultiThread(workers) = self { workers } else { 1 }
    }

    /// Whether its tasks are spawned by `spawn_local`.
    pub(crate) fn is_local(self) -> bool {
        matches!(self, Self::LocalSet | Self::LocalRuntime)
    }

    fn builder(self, hooks: bool) -> Builder {
        let mut builder = match self {
            Self::MultiThread(_) => Builder::new_multi_thread(),
            _ => Builder::new_current_thread(),
        };
        builder.worker_threads(self.workers()).enable_all();
        if hooks {
            builder.stall_hooks(RuntimeHooks::new());
        }
        builder
    }

    /// Drives the runtime until `root` ends.
    fn drive(self, hooks: bool, root: impl std::future::Future<Output = ()>) {
        let mut builder = self.builder(hooks);
        match self {
            Self::LocalSet => {
                let runtime = builder.build().expect("a runtime");
                LocalSet::new().block_on(&runtime, root);
            }
            Self::LocalRuntime => {
                let runtime = builder.build_local(LocalOptions::default()).expect("a runtime");
                runtime.block_on(root);
            }
            _ => builder.build().expect("a runtime").block_on(root),
        }
    }
}

/// The line in `spawn`.
pub(crate) const SPAWNED: u32 = line!() + 3;

fn spawn(shape: Shape, future: Future) -> tokio::task::JoinHandle<()> {
    if shape.is_local() { tokio::task::spawn_local(future) } else { tokio::spawn(future) }
}

/// The thread, the runtime and its detector.
pub(crate) struct Driven {
    pub(crate) shape: Shape,
    pub(crate) stall: Arc<StallDetector>,
    jobs: Option<mpsc::UnboundedSender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Driven {
    pub(crate) fn new(shape: Shape, hooks: bool) -> Self {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let (started, is_started) = std::sync::mpsc::channel();
        let root = async move {
            let stall = StallDetector::builder().threshold(THRESHOLD).start();
            started.send(Arc::new(stall.expect("a detector"))).expect("the test waits");
            while let Some((future, done)) = queue.recv().await {
                spawn(shape, future).await.expect("no panic");
                let _ = done.send(());
            }
        };
        let thread = std::thread::spawn(move || shape.drive(hooks, root));
        let stall = is_started.recv().expect("it starts");
        let driven = Self { shape, stall, jobs: Some(jobs), thread: Some(thread) };
        if let Shape::MultiThread(workers) = shape {
            driven.meet(workers);
        }
        driven
    }

    /// Lets the detector meet all workers at once: of one that it does not know yet, nothing proves
    /// that a plain task blocks it.
    fn meet(&self, workers: usize) {
        let all_here = Arc::new(Barrier::new(workers));
        let stall = Arc::clone(&self.stall);
        let meet = async move {
            let poll = || {
                let all_here = Arc::clone(&all_here);
                tokio::spawn(stall.watched("meets", async move {
                    let _last = all_here.wait();
                }))
            };
            let polls: Vec<_> = (0..workers).map(|_| poll()).collect();
            for poll in polls {
                poll.await.expect("no panic");
            }
        };
        self.run(Box::pin(meet), || ());
    }

    /// Runs the future in a task and waits for its end; meanwhile calls `release`.
    pub(crate) fn run(&self, future: Future, release: impl FnOnce()) {
        let (done, is_done) = oneshot::channel();
        self.jobs.as_ref().expect("until drop").send((future, done)).expect("it is driven");
        release();
        is_done.blocking_recv().expect("it runs to its end");
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.jobs = None;
        let ended = self.thread.take().expect("one drop").join();
        if !std::thread::panicking() {
            ended.expect("no panic");
        }
    }
}
