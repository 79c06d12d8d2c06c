//! The hook, and the thread that sends.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sentry_core::Hub;
use tower_stall::{OnStall, Stall};

use crate::counts::{EventCounts, Outcome};
use crate::event::{event, issue};
use crate::limits::Limits;
use crate::outbox::Outbox;

/// How long the end of the detector waits for events that are not sent yet.
const AT_THE_END: Duration = Duration::from_secs(2);

/// Sends an event for each stall, for [`Builder::on_stall`](tower_stall::Builder::on_stall). The
/// [crate](crate) says when, and what it has.
///
/// Its end, with that of the detector, waits for at most two seconds until what it has is with Sentry's
/// transport. So let the guard of `sentry::init` live longer than the detector: it sends what is there.
pub struct StallEvents {
    hub: Option<Arc<Hub>>,
    environment: bool,
    unfinished_after: Duration,
    pause: Duration,
    per_minute: u32,
    counts: EventCounts,
    /// Once there was a stall.
    outbox: Option<Arc<Outbox>>,
}

impl Default for StallEvents {
    fn default() -> Self {
        Self {
            hub: None,
            environment: false,
            unfinished_after: Self::DEFAULT_UNFINISHED_AFTER,
            pause: Self::DEFAULT_PAUSE,
            per_minute: Self::DEFAULT_PER_MINUTE,
            counts: EventCounts::default(),
            outbox: None,
        }
    }
}

impl StallEvents {
    /// See [`unfinished_after`](Self::unfinished_after).
    pub const DEFAULT_UNFINISHED_AFTER: Duration = Duration::from_secs(10);
    /// See [`pause`](Self::pause).
    pub const DEFAULT_PAUSE: Duration = Duration::from_secs(60);
    /// See [`per_minute`](Self::per_minute).
    pub const DEFAULT_PER_MINUTE: u32 = 30;

    /// Events go to the client that Sentry's main hub has when they are sent: that of `sentry::init` on the
    /// main thread.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends by another hub.
    ///
    /// Defaults to [`Hub::main`].
    #[must_use]
    pub fn hub(mut self, hub: Arc<Hub>) -> Self {
        self.hub = Some(hub);
        self
    }

    /// Whether there are events for what the environment did: a CPU quota that is used up, a stopped process.
    /// They name no code.
    ///
    /// Defaults to `false`.
    #[must_use]
    pub fn environment(mut self, environment: bool) -> Self {
        self.environment = environment;
        self
    }

    /// How long after its first report a stall that has not ended is sent while it lasts.
    ///
    /// Shorter than the time after which a probe kills the process, so that there is an event of what it is
    /// killed for. Longer than most stalls last, so that their events have their duration.
    ///
    /// Defaults to [`DEFAULT_UNFINISHED_AFTER`](Self::DEFAULT_UNFINISHED_AFTER).
    #[must_use]
    pub fn unfinished_after(mut self, time: Duration) -> Self {
        self.unfinished_after = time;
        self
    }

    /// How long an issue has no other event after one. Stalls meanwhile are counted in the next one (`held_back`).
    ///
    /// Defaults to [`DEFAULT_PAUSE`](Self::DEFAULT_PAUSE); with zero each stall is an event.
    #[must_use]
    pub fn pause(mut self, pause: Duration) -> Self {
        self.pause = pause;
        self
    }

    /// How many events the process sends a minute, in all. So many may come at once. With 0 there are none.
    ///
    /// Defaults to [`DEFAULT_PER_MINUTE`](Self::DEFAULT_PER_MINUTE).
    #[must_use]
    pub fn per_minute(mut self, events: u32) -> Self {
        self.per_minute = events;
        self
    }

    /// What has become of events, while the hook is the detector's.
    #[must_use]
    pub fn counts(&self) -> EventCounts {
        self.counts.clone()
    }

    /// Starts the thread with the first stall.
    fn outbox(&mut self) -> Option<Arc<Outbox>> {
        if let Some(outbox) = &self.outbox {
            return Some(Arc::clone(outbox));
        }
        let outbox = Arc::new(Outbox::default());
        let sender = Sender {
            outbox: Arc::clone(&outbox),
            hub: self.hub.clone(),
            limits: Limits::new(self.pause, self.per_minute),
            counts: self.counts.clone(),
            start: Instant::now(),
        };
        thread::Builder::new().name("stall-sentry".to_owned()).spawn(move || sender.run()).ok()?;
        // Its end may wait for a request that is under way: that is for the thread to do.
        self.hub = None;
        self.outbox = Some(Arc::clone(&outbox));
        Some(outbox)
    }
}

impl OnStall for StallEvents {
    fn on_stall(&mut self, stall: &Stall) {
        if stall.cause.is_environment() && !self.environment {
            return;
        }
        let Some(outbox) = self.outbox() else {
            if !stall.in_progress {
                self.counts.add(Outcome::NoThread);
            }
            return;
        };
        if stall.in_progress {
            // A time that no clock reaches is never due.
            if let Some(due) = Instant::now().checked_add(self.unfinished_after) {
                outbox.begin(stall, due);
            }
        } else if !outbox.end(stall) {
            self.counts.add(Outcome::QueueFull);
        }
    }
}

impl Drop for StallEvents {
    fn drop(&mut self) {
        if let Some(outbox) = &self.outbox {
            outbox.close(AT_THE_END);
        }
    }
}

impl fmt::Debug for StallEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StallEvents")
            .field("environment", &self.environment)
            .field("unfinished_after", &self.unfinished_after)
            .field("pause", &self.pause)
            .field("per_minute", &self.per_minute)
            .finish_non_exhaustive()
    }
}

/// The thread.
struct Sender {
    outbox: Arc<Outbox>,
    hub: Option<Arc<Hub>>,
    limits: Limits,
    counts: EventCounts,
    start: Instant,
}

impl Sender {
    fn run(mut self) {
        drop(catch_unwind(EventCounts::describe));
        while let Some(stall) = self.outbox.next() {
            let sent = catch_unwind(AssertUnwindSafe(|| self.send(&stall)));
            let outcome = sent.unwrap_or(Outcome::Panicked);
            drop(catch_unwind(AssertUnwindSafe(|| self.counts.add(outcome))));
        }
        self.outbox.set_done();
    }

    fn send(&mut self, stall: &Stall) -> Outcome {
        let held_back = match self.limits.admit(self.start.elapsed(), &issue(stall)) {
            Ok(held_back) => held_back,
            Err(outcome) => return outcome,
        };
        let hub = self.hub.clone().unwrap_or_else(Hub::main);
        let sent = hub.capture_event(event(stall, held_back));
        if sent.is_nil() { Outcome::Refused } else { Outcome::Sent }
    }
}
