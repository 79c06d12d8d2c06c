//! The record of a stall: plain data.

use std::fmt;
use std::time::{Duration, SystemTime};

/// Why a thread did not return from a poll, or why a runtime was frozen.
///
/// [`_documentation::causes`](crate::_documentation::causes) says what each is read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// It computed.
    Cpu,
    /// It slept.
    Sleep,
    /// It waited for a lock.
    Lock,
    /// It waited for the network.
    NetworkIo,
    /// It waited for a file.
    FileIo,
    /// It waited for a child process.
    ProcessWait,
    /// It waited in the kernel for something else.
    Blocked,
    /// Nothing could be read.
    Unknown,
    /// The control group had used up its CPU quota.
    Throttled,
    /// The process was stopped, frozen or suspended.
    Suspended,
    /// Other threads had the CPU.
    Starved,
}

impl Cause {
    /// Every cause, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Cpu,
        Self::Sleep,
        Self::Lock,
        Self::NetworkIo,
        Self::FileIo,
        Self::ProcessWait,
        Self::Blocked,
        Self::Unknown,
        Self::Throttled,
        Self::Suspended,
        Self::Starved,
    ];

    /// The value of the `cause` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Sleep => "sleep",
            Self::Lock => "lock",
            Self::NetworkIo => "network_io",
            Self::FileIo => "file_io",
            Self::ProcessWait => "process_wait",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
            Self::Throttled => "throttled",
            Self::Suspended => "suspended",
            Self::Starved => "starved",
        }
    }

    /// One line on how to mend it.
    #[must_use]
    pub const fn fix(self) -> &'static str {
        match self {
            Self::Cpu => {
                "move the computation to tokio::task::spawn_blocking(..), or let others run with tokio::task::yield_now().await"
            }
            Self::Sleep => "use tokio::time::sleep(..).await",
            Self::Lock => {
                "hold the lock for less, take a tokio::sync lock with .await, or move the work to tokio::task::spawn_blocking(..)"
            }
            Self::NetworkIo => {
                "use an async client or tokio::net, or move the call to tokio::task::spawn_blocking(..)"
            }
            Self::FileIo => "use tokio::fs, or move the work to tokio::task::spawn_blocking(..)",
            Self::ProcessWait => "use tokio::process::Command",
            Self::Blocked | Self::Unknown => {
                "await the async counterpart of the blocking call, or move the work to tokio::task::spawn_blocking(..)"
            }
            Self::Throttled => "raise the CPU limit, or run fewer threads than it has CPUs",
            Self::Suspended => "nothing in the program: it was stopped, frozen or suspended",
            Self::Starved => "give the process more CPU: others on the machine had it",
        }
    }

    /// Whether it lies outside the program.
    #[must_use]
    pub const fn is_environment(self) -> bool {
        matches!(self, Self::Throttled | Self::Suspended | Self::Starved)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One stall: a poll that held its thread for longer than the threshold.
///
/// Given out by [`StallDetector::stalls`](crate::StallDetector::stalls) and to
/// [`OnStall`](crate::OnStall) hooks.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stall {
    /// Counts up from 1 within a detector; the `stall` field of the log.
    pub id: u64,
    /// The name of the runtime: `main`, `runtime-2`, or as given to
    /// [`StallDetector::watch`](crate::StallDetector::watch).
    pub runtime: &'static str,
    /// The index of the blocked worker as in Tokio's metrics; `None` for a root future.
    pub worker: Option<usize>,
    /// Route template, RPC method or name of the watched future; `environment` if the cause lies
    /// outside the program.
    pub handler: &'static str,
    /// What the thread did, or what kept it from running.
    pub cause: Cause,
    /// What it waited for, and how much of the time it could not run: `read of /data/big.csv`,
    /// `recvfrom from 127.0.0.1:5432`. Filled in shortly after the stall was counted, where the
    /// system tells.
    pub detail: Option<String>,
    /// When the poll was first seen, at most one scan after its begin.
    pub started_at: SystemTime,
    /// How long the poll has held the thread: so far, or in all once it ended. Never longer
    /// than was seen, so short of the truth by at most one scan.
    pub duration: Duration,
    /// Whether the thread was still blocked at the last scan.
    pub in_progress: bool,
    /// Workers of the runtime.
    pub workers: usize,
    /// How many of them were stalled, this one included, when this stall was counted. Those that
    /// the environment holds up are not.
    pub workers_stalled: usize,
    /// Requests inside the layer when the stall was counted, the blocking one included.
    pub requests_in_flight: u64,
    /// The W3C trace id of the request (32 hexadecimal digits in `traceparent`), or what a
    /// user's function gave; `None` without.
    pub trace_id: Option<u128>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_its_own_label() {
        let labels: std::collections::BTreeSet<_> =
            Cause::ALL.iter().map(|cause| cause.as_str()).collect();
        assert_eq!(labels.len(), Cause::ALL.len());
    }
}
