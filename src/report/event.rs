//! What happens to a stall.

/// What happens to a stall, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Started,
    /// It was reported without a site, which is known now.
    Located,
    /// It is known who has what it waits for.
    Held,
    Continues,
    /// It does something else by now than before.
    Moved,
    Ended,
}
