//! Takes the place of `native` on platforms where no stack is taken.

use std::time::Duration;

use super::mode::Capture;
use super::raw::Captured;

/// Fails each time.
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
