//! Blocks a worker and looks at all that is said about it.
#![allow(dead_code, reason = "not all is used without the feature `capture`")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use tower_stall::{Builder, Cause, Stack, Stall};

use crate::support::events::Events;
use crate::support::*;

/// A detector and its log.
pub(crate) struct Watched {
    pub(crate) rig: Rig,
    pub(crate) events: Events,
}

/// How often a busy machine may keep an answer from coming in time.
const ATTEMPTS: usize = 5;

/// What blocks until it is told to end.
type Fault = fn(&AtomicBool);

/// Ends a fault, also when the test fails: the runtime waits for its workers.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Computes.
pub(crate) fn spin(end: &AtomicBool) {
    while !end.load(Ordering::Acquire) {
        std::hint::spin_loop();
    }
}

// A fault that waits does so in calls of a second: whenever it is looked at, it is in one.

/// Sleeps.
pub(crate) fn sleep(end: &AtomicBool) {
    while !end.load(Ordering::Acquire) {
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// Waits for a message, as for a lock that another thread has.
pub(crate) fn lock(end: &AtomicBool) {
    let (_sender, receiver) = std::sync::mpsc::channel::<()>();
    while !end.load(Ordering::Acquire) {
        assert!(receiver.recv_timeout(Duration::from_secs(1)).is_err());
    }
}

/// Reads from a socket.
pub(crate) fn receive(end: &AtomicBool) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a limit");
    while !end.load(Ordering::Acquire) {
        assert!(socket.recv(&mut [0]).is_err());
    }
}

impl Watched {
    pub(crate) fn new(set: impl FnOnce(Builder) -> Builder) -> Self {
        let events = Events::default();
        let rig = events.with(|| Rig::new(2, set));
        Self { rig, events }
    }

    /// Runs `fault` on a worker until its stall was told, and returns it as it is when it is over.
    #[track_caller]
    pub(crate) fn stall(&self, handler: &'static str, fault: Fault) -> Stall {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        let watched = self.rig.stall.watched(handler, async move { fault(&ended) });
        let task = self.rig.runtime.spawn(watched);
        let ends = Ends(end);
        let started = || self.told("stall_started", handler);
        let begin = Instant::now();
        while started() == 0 {
            assert!(begin.elapsed() < LIMIT, "not told: {:#?}", self.rig.stall.stalls());
            std::thread::sleep(Duration::from_millis(2));
        }
        // The other worker goes on.
        assert_eq!(self.rig.run(async { 7 }), 7);
        drop(ends);
        self.rig.runtime.block_on(task).expect("no panic");
        wait_until(LIMIT, || self.told("stall_ended", handler) == 1);
        assert_eq!(started(), 1);
        let mut stalls = self.rig.stall.stalls().into_iter();
        let stall = stalls.find(|stall| stall.handler == handler).expect("it was told");
        let line = self.events.of(handler).remove(0);
        assert_eq!(line.field("cause"), stall.cause.as_str());
        // Told without its stack, the line has no more than the cause to go by.
        assert!([&*stall.fix, stall.cause.fix()].contains(&line.field("fix")));
        assert!(!stall.in_progress && stall.duration >= THRESHOLD, "{stall:#?}");
        stall
    }

    /// A stall with its stack, which may get its names after its end.
    #[track_caller]
    pub(crate) fn with_stack(&self, handler: &str, fault: Fault) -> Stall {
        for attempt in 0..ATTEMPTS {
            let handler: &'static str = format!("{handler} {attempt}").leak();
            self.stall(handler, fault);
            let stall = wait_for(LIMIT, || {
                let mut stalls = self.rig.stall.stalls().into_iter();
                let answered = |stall: &Stall| !stall.is_stack_pending();
                stalls.find(|stall| stall.handler == handler && answered(stall))
            });
            if stall.stack.is_some() {
                return stall;
            }
        }
        panic!("no stack in {ATTEMPTS} attempts: {:#?}", self.rig.stall.stalls());
    }

    /// The stack of a stall.
    #[track_caller]
    pub(crate) fn stack(&self, handler: &str, fault: Fault) -> Arc<Stack> {
        self.with_stack(handler, fault).stack.expect("it has one")
    }

    /// Has each of the two workers poll something that is watched, and park after the other: the
    /// first to park waits at the I/O driver, the second by a lock.
    pub(crate) fn meet_workers(&self) {
        for last in 0..2 {
            let both = Arc::new(Barrier::new(2));
            let meet = |_| {
                let both = Arc::clone(&both);
                let watched = self.rig.stall.watched("meet", async move {
                    both.wait();
                    if tokio::runtime::worker_index() == Some(last) {
                        std::thread::sleep(THRESHOLD / 4);
                    }
                });
                self.rig.runtime.spawn(watched)
            };
            let tasks: Vec<_> = (0..2).map(meet).collect();
            for task in tasks {
                self.rig.runtime.block_on(task).expect("no panic");
            }
            std::thread::sleep(THRESHOLD / 4);
        }
    }

    fn told(&self, event: &str, handler: &str) -> usize {
        let events = self.events.named(event);
        events.iter().filter(|event| event.field("handler") == handler).count()
    }

    /// Captures of that outcome.
    #[track_caller]
    pub(crate) fn captures(&self, outcome: &str) -> Option<f64> {
        self.rig.metric("tower_stall_captures_total", &[("outcome", outcome)])
    }

    /// A stall of that cause that has no stack, for that reason, counted under that outcome.
    #[track_caller]
    pub(crate) fn check(
        &self,
        (handler, fault): (&'static str, Fault),
        cause: Cause,
        (outcome, missing): (&str, &str),
    ) -> Stall {
        for attempt in 0..ATTEMPTS {
            let handler: &'static str = format!("{handler} {attempt}").leak();
            let count = |outcome| self.captures(outcome).expect("a series");
            let (before, late) = (count(outcome), count("timeout"));
            self.stall(handler, fault);
            let stall = wait_for(LIMIT, || {
                let mut stalls = self.rig.stall.stalls().into_iter();
                stalls.find(|stall| stall.handler == handler && !stall.is_stack_pending())
            });
            assert_eq!(stall.cause, cause, "{stall:#?}");
            assert_eq!(stall.stack_missing.as_deref(), Some(missing), "{stall:#?}");
            assert!(stall.stack.is_none() && stall.site.is_none(), "{stall:#?}");
            wait_until(LIMIT, || count(outcome) > before || count("timeout") > late);
            if count(outcome) > before {
                return stall;
            }
            // The capture thread had no CPU for long.
        }
        panic!("never counted as {outcome}");
    }
}
