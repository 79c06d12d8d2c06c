//! Bytes of modules, borrowed of the program itself and copied of everything that may go.

use std::ops::{Deref, Range};
use std::sync::Arc;

use crate::sys::native::memory::copy;
use crate::sys::native::modules::Module;

/// A section larger than this is not what it seems to be.
const LONGEST_SECTION: u64 = 256 << 20;

/// The bytes of a section.
#[derive(Clone, Debug)]
pub(super) enum Bytes {
    Borrowed(&'static [u8]),
    Copied(Arc<[u8]>),
}

impl Default for Bytes {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Copied(bytes) => bytes,
        }
    }
}

/// The bytes of a section of that module, borrowed if they can be.
pub(super) fn section(module: &Module, range: &Range<u64>) -> Option<Bytes> {
    match module.borrow(range) {
        Some(bytes) => Some(Bytes::Borrowed(bytes)),
        None => Some(Bytes::Copied(read(range, LONGEST_SECTION)?.into())),
    }
}

/// Copies all of a range, or nothing.
pub(super) fn read(range: &Range<u64>, longest: u64) -> Option<Vec<u8>> {
    let length = range.end.checked_sub(range.start).filter(|length| *length <= longest)?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    (copy(range.start, &mut bytes) == bytes.len()).then_some(bytes)
}

/// The word at `address`, if it can be read.
pub(super) fn word(address: u64) -> Option<u64> {
    let mut word = [0; 8];
    (copy(address, &mut word) == word.len()).then(|| u64::from_le_bytes(word))
}
