//! A document in parts. Each is made when the one before is on its way, so no document is in memory
//! as a whole.

use std::iter::{once, once_with};
use std::sync::Arc;

/// The parts of a document, in their order.
pub(crate) type Parts = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// A document that is there already.
pub(super) fn whole(document: impl Into<Vec<u8>>) -> Parts {
    Box::new(once(document.into()))
}

/// A part that is made of the data.
pub(super) fn part<D: Send + Sync + 'static>(data: &Arc<D>, make: fn(&D) -> String) -> Parts {
    let data = Arc::clone(data);
    Box::new(once_with(move || make(&data).into()))
}

/// A part for each thing on a list of the data.
pub(super) fn each<D: Send + Sync + 'static, T: 'static>(
    data: &Arc<D>,
    list: fn(&D) -> &[T],
    make: fn(&D, &T) -> String,
) -> Parts {
    let data = Arc::clone(data);
    let count = list(&data).len();
    Box::new((0..count).map(move |at| make(&data, &list(&data)[at]).into()))
}

/// One after the other.
pub(super) fn chain<const N: usize>(parts: [Parts; N]) -> Parts {
    Box::new(parts.into_iter().flatten())
}
