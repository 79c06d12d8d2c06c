//! The errors of a start.

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::limits::*;

/// Why [`Builder::start`](crate::Builder::start) refused: one variant for each cause, naming the
/// setting or variable, the value, and what to write instead.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no Tokio runtime to watch here.
    #[error(
        "start() was called outside a Tokio runtime: call it inside async code, or inside a scope of `Runtime::enter()`"
    )]
    NoRuntime,
    /// The threshold is below [`MIN_THRESHOLD`](crate::Builder::MIN_THRESHOLD).
    #[error(
        "threshold is {0:?}, which is too short to tell a stall from work: use {MIN_THRESHOLD:?} or more (the default is {DEFAULT_THRESHOLD:?})"
    )]
    ThresholdTooShort(Duration),
    /// The time between two scans is zero.
    #[error(
        "scan_interval is 0: use a time above zero, at most the threshold (the default is a quarter of it)"
    )]
    ScanIntervalZero,
    /// The time between two scans is longer than the threshold.
    #[error("scan_interval is {scan_interval:?}, longer than the threshold of {threshold:?}: use a quarter of the threshold, {:?}", *.threshold / DEFAULT_SCANS_PER_THRESHOLD)]
    ScanIntervalAboveThreshold {
        /// The value of `scan_interval`.
        scan_interval: Duration,
        /// The value of `threshold`.
        threshold: Duration,
    },
    /// The time between two ticks is too short for Tokio's timers.
    #[error(
        "tick_interval is {0:?}, but Tokio's timers have a resolution of {MIN_TICK_INTERVAL:?}: use {MIN_TICK_INTERVAL:?} or more (the default is {DEFAULT_TICK_INTERVAL:?})"
    )]
    TickIntervalTooShort(Duration),
    /// An idle service would be looked at too rarely.
    #[error(
        "idle_interval is {0:?}, so that a freeze of an idle runtime could last that long unseen: use {MAX_IDLE_INTERVAL:?} or less (the default is {DEFAULT_IDLE_INTERVAL:?}; 0 keeps the usual pace)"
    )]
    IdleIntervalTooLong(Duration),
    /// No stall could be kept.
    #[error(
        "history is 0, so no stall could be kept: use 1 or more (the default is {DEFAULT_HISTORY})"
    )]
    HistoryZero,
    /// No handler could have a label.
    #[error(
        "max_handlers is 0, so no handler could be named: use 1 or more (the default is {DEFAULT_MAX_HANDLERS})"
    )]
    MaxHandlersZero,
    /// No site could have a label.
    #[error(
        "max_sites is 0, so no site could be named: use 1 or more (the default is {DEFAULT_MAX_SITES})"
    )]
    MaxSitesZero,
    /// Stacks would have no CPU time, or more than a core.
    #[error(
        "capture_cpu_percent is {0}: use 1 to 100 (the default is {DEFAULT_CAPTURE_CPU_PERCENT}), or set capture to off"
    )]
    CaptureCpuPercentOutOfRange(usize),
    /// Every runtime would be dead at once.
    #[error(
        "dead_after is 0, so any freeze would end the process: use 1s or more (the default is {DEFAULT_DEAD_AFTER:?})"
    )]
    DeadAfterZero,
    /// No runtime would ever be ready.
    #[error(
        "unready_after is 0, so no runtime could be ready: use the threshold or more (the default is {DEFAULT_UNREADY_AFTER:?})"
    )]
    UnreadyAfterZero,
    /// Every request would be turned away.
    #[error(
        "shed_after is 0, so every request would be turned away: use the threshold or more (the default is {DEFAULT_SHED_AFTER:?})"
    )]
    ShedAfterZero,
    /// The admin address is taken by another socket.
    #[error("admin address {address} is in use: choose another port, or port 0 for a free one")]
    AddressInUse {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The admin address cannot be bound for another reason.
    #[error(
        "admin address {address} cannot be bound ({source}): use an address of this machine, such as 127.0.0.1:9099 or [::]:9099"
    )]
    AddressUnusable {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// An admin server was asked for, but this build has none.
    #[error(
        "admin is {0}, but this build lacks the crate feature `admin`: enable the feature, or unset the address"
    )]
    AdminNotBuilt(SocketAddr),
    /// An environment variable has a value that cannot be read.
    #[error("{variable} is {value:?}: write {expected}")]
    Variable {
        /// The variable, such as `TOWER_STALL_THRESHOLD`.
        variable: String,
        /// Its value, with what is not Unicode replaced.
        value: String,
        /// What to write instead.
        expected: Cow<'static, str>,
    },
    /// A thread of the detector could not be started.
    #[error(
        "thread {name} could not be started ({source}): raise the limit on threads of this process or container"
    )]
    Thread {
        /// The name of the thread.
        name: Cow<'static, str>,
        /// What the operating system said.
        source: io::Error,
    },
    /// The admin server's own runtime could not be built.
    #[error(
        "the admin server's runtime could not be built ({0}): raise the limit on open files of this process"
    )]
    AdminRuntime(#[source] io::Error),
}
