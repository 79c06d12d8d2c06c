//! What the tests of this package block: they take locks of crates that the library does not need.

pub mod proof;
pub mod report;
