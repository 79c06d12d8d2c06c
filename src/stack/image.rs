//! Which module an address belongs to: all that is left to say of code without symbols.

use std::sync::Arc;

/// A module as it was loaded when a stack was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    /// The name of its file, without the folder.
    pub(crate) name: String,
    /// What is added to the addresses in the file.
    pub(crate) base: u64,
    /// In hexadecimal digits.
    pub(crate) build_id: Option<String>,
    /// Larger for a module that was loaded later.
    pub(crate) listing: u64,
}

/// The code a frame is at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodeAddress {
    pub(crate) address: u64,
    /// Whether the code at `address` is what comes after a call, and not the call itself.
    pub(crate) is_return: bool,
    pub(crate) image: Option<Arc<Image>>,
}

impl CodeAddress {
    /// The address to look up: within the call, which may be the last thing in its function.
    pub(crate) fn lookup(&self) -> u64 {
        self.address - u64::from(self.is_return)
    }

    /// The address as the file of the module counts.
    pub(crate) fn offset(&self) -> u64 {
        self.address.wrapping_sub(self.image.as_ref().map_or(0, |image| image.base))
    }
}
