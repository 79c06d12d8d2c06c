//! Takes the place of `native` on platforms where no stack is taken.

use std::sync::Arc;
use std::time::Duration;

use super::mode::{Capture, Symbols};
use super::raw::{Captured, Image, Interrupted, NoLines, RawHolding, RawStack};
use super::user_frame::OwnCode;
use crate::stall::{Frame, Stack, StackDetail};
use crate::sync::AtomicBool;

const UNSUPPORTED: &str = "unsupported on this system";

/// Fails each time.
pub(super) struct Taker;

impl Taker {
    pub(super) fn new(_: Capture) -> Self {
        Self
    }

    pub(super) fn take(&mut self, _: u32, _: &dyn Fn() -> bool, _: Duration) -> Captured {
        Captured::failed(UNSUPPORTED)
    }

    pub(super) fn holding(
        &mut self,
        _: u32,
        _: &dyn Fn() -> bool,
        _: &mut dyn FnMut() -> bool,
    ) -> Result<Option<RawHolding>, Interrupted> {
        Ok(None)
    }
}

/// Knows none.
pub(super) fn functions_at(_: &Image, _: &[u64]) -> Vec<Option<String>> {
    Vec::new()
}

/// Nothing has names.
#[derive(Debug)]
pub(super) struct Names;

impl Names {
    pub(super) fn new(_: Symbols, _: OwnCode, _: Arc<AtomicBool>) -> Self {
        Self
    }

    pub(super) fn detail(&mut self) -> StackDetail {
        StackDetail::Nothing(UNSUPPORTED)
    }

    pub(super) fn symbolize(
        &mut self,
        _: &RawStack,
        _: impl FnMut(&[Arc<Frame>]) -> bool,
    ) -> (Stack, Option<NoLines>) {
        (Stack::default(), None)
    }
}

/// There is nothing to measure.
#[cfg(feature = "__bench")]
pub(crate) mod bench {}
