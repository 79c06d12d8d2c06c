//! What has become of events.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What has become of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It was given to Sentry's transport.
    Sent,
    /// Its issue had one shortly before, see [`StallEvents::pause`](crate::StallEvents::pause).
    Paused,
    /// The process had too many, see [`StallEvents::per_minute`](crate::StallEvents::per_minute).
    Limited,
    /// Too many waited to be made: `before_send` or an integration is slow.
    QueueFull,
    /// Sentry's client did not take it: there is none, or `before_send` or a sample rate was against it.
    Refused,
    /// `before_send`, an integration or the transport panicked.
    Panicked,
    /// The thread that sends could not be started.
    NoThread,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sent,
        Self::Paused,
        Self::Limited,
        Self::QueueFull,
        Self::Refused,
        Self::Panicked,
        Self::NoThread,
    ];

    /// The value of the label `outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Paused => "paused",
            Self::Limited => "limited",
            Self::QueueFull => "queue_full",
            Self::Refused => "refused",
            Self::Panicked => "panicked",
            Self::NoThread => "no_thread",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Counts of events by [`Outcome`], from [`StallEvents::counts`](crate::StallEvents::counts). Clones count the same.
#[derive(Clone, Debug, Default)]
pub struct EventCounts(Arc<[AtomicU64; Outcome::ALL.len()]>);

impl EventCounts {
    /// How many events had this outcome so far.
    #[must_use]
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize].load(Relaxed)
    }

    /// Also in the facade, whose recorder may panic.
    pub(crate) fn add(&self, outcome: Outcome) {
        self.0[outcome as usize].fetch_add(1, Relaxed);
        metrics::counter!("tower_stall_sentry_events_total", "outcome" => outcome.as_str())
            .increment(1);
    }

    pub(crate) fn describe() {
        metrics::describe_counter!(
            "tower_stall_sentry_events_total",
            "Events for Sentry, by what has become of them."
        );
    }
}
