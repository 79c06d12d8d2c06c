//! What probes are told through the life of a service, and what is done about freezes.

#[cfg(target_os = "linux")]
mod environment;
mod idle;
mod life;
mod rescue;
mod routes;
mod shed;
mod shutdown;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::support::*;

const MS: Duration = Duration::from_millis(1);

/// Keeps tasks blocked until it is opened, or dropped.
#[derive(Clone, Default)]
struct Gate(Arc<AtomicBool>);

/// Opens it when the test is over, whatever becomes of it: runtimes wait for their workers.
struct Opener(Gate);

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Gate {
    fn open(&self) {
        self.0.store(true, SeqCst);
    }

    fn opener(&self) -> Opener {
        Opener(self.clone())
    }

    fn block(&self) {
        let start = Instant::now();
        while !self.load(SeqCst) && start.elapsed() < 3 * LIMIT {
            std::thread::sleep(5 * MS);
        }
    }
}

impl std::ops::Deref for Gate {
    type Target = AtomicBool;

    fn deref(&self) -> &AtomicBool {
        &self.0
    }
}

impl Rig {
    /// What a probe is told there.
    fn probe(&self, path: &str) -> (u16, String) {
        fetch(self.stall.admin_addr().expect("an admin server"), path)
    }

    /// Waits until the probe is told that.
    #[track_caller]
    fn wait_until_told(&self, path: &str, status: u16, text: &str) -> String {
        let mut last = String::new();
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let (code, told) = self.probe(path);
            if code == status && told.contains(text) {
                return told;
            }
            last = format!("{code} {told}");
            std::thread::sleep(5 * MS);
        }
        panic!("{path} says {last:?}, not {status} {text:?}");
    }

    /// Blocks that many workers until the gate is opened, as `handler`.
    fn block_workers(&self, count: usize, handler: &'static str) -> (Gate, Opener) {
        let gate = Gate::default();
        for _ in 0..count {
            let held = gate.clone();
            self.runtime.spawn(self.stall.watched(handler, async move { held.block() }));
        }
        let opener = gate.opener();
        (gate, opener)
    }

    /// Has the worker that looks after timers and sockets block, so that they stand still, which
    /// `seen` sees. Tokio wakes no other worker if that one has one task alone to run: not so when
    /// a tick comes at the same moment, so it may take more than one try.
    fn block_the_driver(
        &self,
        handler: &'static str,
        mut seen: impl FnMut() -> bool,
    ) -> (Gate, Opener) {
        for _ in 0..50 {
            let gate = Gate::default();
            let held = gate.clone();
            let task = async move {
                tokio::time::sleep(10 * MS).await;
                held.block();
            };
            self.runtime.spawn(self.stall.watched(handler, task));
            let opener = gate.opener();
            let stalled = || self.metric("tokio_workers_stalled", &[]) == Some(1.0);
            wait_until(LIMIT, stalled);
            let start = Instant::now();
            while start.elapsed() < 500 * MS {
                if seen() {
                    return (gate, opener);
                }
                std::thread::sleep(5 * MS);
            }
            drop(opener);
            wait_until(LIMIT, || !stalled());
        }
        panic!("timers went on each time");
    }
}
