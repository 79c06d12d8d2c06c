//! Bytes of modules: borrowed from the program itself, copied from what may be unloaded.

use std::borrow::Cow;
use std::ops::Range;

use crate::sys::native::memory::copy;
use crate::sys::native::modules::Module;

/// A section larger than this is taken for a mistake.
const LONGEST_SECTION: u64 = 256 << 20;

/// The bytes of a section.
pub(super) type Bytes = Cow<'static, [u8]>;

/// The section of that module at `range`, borrowed if possible.
pub(super) fn section(module: &Module, range: &Range<u64>) -> Option<Bytes> {
    match module.borrow(range) {
        Some(bytes) => Some(Cow::Borrowed(bytes)),
        None => read(range, LONGEST_SECTION).map(Cow::Owned),
    }
}

/// Copies a range as a whole; `None` if a part of it cannot be read or it is too long.
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
