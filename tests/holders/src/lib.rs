//! Nothing: the package is its tests, which take locks of crates that the library does not need.
