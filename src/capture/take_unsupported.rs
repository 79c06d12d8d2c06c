//! On systems without a way to take a stack: the same questions, and that answer.

use super::capturer::Captured;
use super::mode::Capture;
use crate::clock::Nanos;

/// Takes none.
pub(super) struct Taker;

impl Taker {
    pub(super) fn new(_: Capture) -> Self {
        Self
    }

    pub(super) fn take(&mut self, _: u32, _: &dyn Fn() -> bool, _: Nanos) -> Captured {
        Captured::failed("unsupported on this system")
    }
}
