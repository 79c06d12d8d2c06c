//! Where no stack is taken (see `native`): the same questions, and that answer.

use std::time::Duration;

use super::mode::Capture;
use super::raw::Captured;

/// Takes none.
pub(super) struct Taker;

impl Taker {
    pub(super) fn new(_: Capture) -> Self {
        Self
    }

    pub(super) fn take(&mut self, _: u32, _: &dyn Fn() -> bool, _: Duration) -> Captured {
        Captured::failed("unsupported on this system")
    }
}

/// There is nothing to measure.
#[cfg(feature = "__bench")]
pub(crate) mod bench {}
