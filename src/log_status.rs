//! Whether the detector's warnings get through to the log.

/// What the `tracing` subscriber does with our warnings, as the reporter found it last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LogStatus {
    /// Nobody has asked yet.
    #[default]
    Unknown,
    /// They are logged.
    Taken,
    /// There is a subscriber, and its filter drops them.
    FilteredOut,
    /// There is no subscriber.
    NoSubscriber,
}
