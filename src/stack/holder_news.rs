//! The way back of the answer who holds a lock.

use crate::stall::HeldBy;

/// Tells once who has what a thread waits for, or, when it is dropped, that this is not known.
pub(crate) struct HolderNews(Option<Box<dyn FnOnce(Option<HeldBy>) + Send>>);

impl HolderNews {
    pub(crate) fn new(tell: impl FnOnce(Option<HeldBy>) + Send + 'static) -> Self {
        Self(Some(Box::new(tell)))
    }

    pub(super) fn tell(mut self, held_by: HeldBy) {
        if let Some(tell) = self.0.take() {
            tell(Some(held_by));
        }
    }
}

impl Drop for HolderNews {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(None);
        }
    }
}
