//! On systems without a way to take a stack: the same questions, and that answer.

use std::time::Duration;

use super::mode::Capture;
use super::sampler::Captured;

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
