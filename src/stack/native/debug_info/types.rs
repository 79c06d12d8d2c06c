//! What lookups take and give, and the types of gimli as they are used here.

use gimli::{EndianSlice, LittleEndian};

use crate::stack::raw::NoLines;

pub(super) type Bytes<'a> = EndianSlice<'a, LittleEndian>;
pub(super) type Dwarf<'a> = gimli::Dwarf<Bytes<'a>>;
pub(super) type Unit<'a> = gimli::Unit<Bytes<'a>>;
pub(super) type UnitRef<'a, 'u> = gimli::UnitRef<'u, Bytes<'a>>;

/// Where code is from: a function, or one that was inlined into it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::stack::native) struct Location {
    /// Without the hash.
    pub(in crate::stack::native) function: Option<String>,
    pub(in crate::stack::native) file: Option<String>,
    pub(in crate::stack::native) line: Option<u32>,
}

/// What a lookup is to find, and what it may use.
pub(in crate::stack::native) struct Limits<'a> {
    /// Whether files and lines are wanted, and functions that were inlined. Else it finds what the
    /// symbol table has.
    pub(in crate::stack::native) lines: bool,
    /// Bytes of memory for debug information that is compressed in its file.
    pub(in crate::stack::native) memory: u64,
    /// Called every now and then; the lookup ends where it returns `false`.
    pub(in crate::stack::native) goes_on: &'a mut dyn FnMut() -> bool,
}

/// Asks every so many steps whether to go on.
pub(super) struct Steps<'a> {
    taken: usize,
    every: usize,
    has_ended: bool,
    goes_on: &'a mut dyn FnMut() -> bool,
}

impl<'a> Steps<'a> {
    pub(super) fn new(every: usize, goes_on: &'a mut dyn FnMut() -> bool) -> Self {
        Self { taken: 0, every, has_ended: false, goes_on }
    }

    /// To be called at each step, so that no loop over a file is left out.
    pub(super) fn take(&mut self) -> Result<(), NoLines> {
        self.taken += 1;
        if self.taken.is_multiple_of(self.every) { self.ask() } else { self.ended() }
    }

    /// After a step that takes longer than others.
    pub(super) fn ask(&mut self) -> Result<(), NoLines> {
        self.has_ended = self.has_ended || !(self.goes_on)();
        self.ended()
    }

    /// Fails after a step that did.
    pub(super) fn ended(&self) -> Result<(), NoLines> {
        if self.has_ended { Err(NoLines::Ended) } else { Ok(()) }
    }
}

impl From<gimli::Error> for NoLines {
    fn from(_: gimli::Error) -> Self {
        Self::Unreadable
    }
}

impl From<object::read::Error> for NoLines {
    fn from(_: object::read::Error) -> Self {
        Self::Unreadable
    }
}
