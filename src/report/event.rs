//! What a stall has come to.

/// What a stall has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Started,
    Continues,
    Ended,
}
